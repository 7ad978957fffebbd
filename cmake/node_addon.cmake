# The Node addon: the only target that knows Node (Node-API 9, headers from cmake-js).
execute_process(COMMAND node -p "require('node-addon-api').include_dir"
                WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
                OUTPUT_VARIABLE NODE_ADDON_API_DIR OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
file(GLOB SMORE_BINDING_SOURCES CONFIGURE_DEPENDS addon/binding/*.cc)
add_library(smore SHARED ${SMORE_BINDING_SOURCES} ${CMAKE_JS_SRC})
set_target_properties(smore PROPERTIES PREFIX "" SUFFIX ".node")
target_include_directories(smore PRIVATE ${CMAKE_SOURCE_DIR}/addon)
target_include_directories(smore SYSTEM PRIVATE ${CMAKE_SOURCE_DIR}/${NODE_ADDON_API_DIR} ${CMAKE_JS_INC})
# SWALLOW: an environment that is being torn down takes no exceptions, and that is no reason to abort.
target_compile_definitions(smore PRIVATE NAPI_VERSION=9 NODE_ADDON_API_CPP_EXCEPTIONS
                           NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS BUILDING_NODE_EXTENSION)
target_link_libraries(smore PRIVATE ${SMORE_DEVICES} smore_core ${CMAKE_JS_LIB})
