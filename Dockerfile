# Built by the same set-up script as a clone: docker build -t smore-serve .
# Run: docker run -p 127.0.0.1:8080:8080 -v smore-models:/models smore-serve
# For GPUs (docs/gpu.md): docker build --target cuda -t smore-serve:cuda .

# Node of another image: Ubuntu's is too old.
FROM node:20-bookworm-slim AS node

FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS cuda

RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates g++ cmake ninja-build python3 python3-pip \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home smore \
 && install -d -o smore -g smore /app /models
COPY --from=node /usr/local/bin/node /usr/local/bin/
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
 && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx

USER smore
WORKDIR /app
COPY --chown=smore:smore . .
# Without nvcc it fails, instead of making an image that knows no GPU.
RUN SMORE_CUDA=ON npm run build

ENV SMORE_HOST=0.0.0.0 SMORE_MODEL_CACHE=/models
VOLUME /models
EXPOSE 8080
HEALTHCHECK --start-period=120s CMD node -e "fetch('http://127.0.0.1:8080/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"
ENTRYPOINT ["node", "scripts/start.mjs"]

FROM debian:13-slim AS cpu

RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates nodejs npm g++ cmake ninja-build python3 python3-pip \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home smore \
 && install -d -o smore -g smore /app /models

USER smore
WORKDIR /app
COPY --chown=smore:smore . .
RUN npm run build

ENV SMORE_HOST=0.0.0.0 SMORE_MODEL_CACHE=/models
VOLUME /models
EXPOSE 8080
HEALTHCHECK --start-period=120s CMD node -e "fetch('http://127.0.0.1:8080/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"
ENTRYPOINT ["node", "scripts/start.mjs"]
