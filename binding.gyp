# npm runs node-gyp where it finds this file; cmake-js builds the addon (npm run build).
{ "targets": [] }
