# `cmake --install`: the binary, the recipes, and a library target for find_package(seer-train): seer::seer.
include(CMakePackageConfigHelpers)

get_property(libraries GLOBAL PROPERTY SEER_LIBRARIES)
add_library(seer INTERFACE)
target_link_libraries(seer INTERFACE ${libraries})

install(TARGETS seer-train RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS seer ${libraries} EXPORT seer-train-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY src cuda data trainer DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/seer-train FILES_MATCHING PATTERN "*.h")
install(DIRECTORY configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/seer-train/configs PATTERN "quickstart" EXCLUDE
        PATTERN "quickstart.json" EXCLUDE)
install(EXPORT seer-train-targets NAMESPACE seer:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/seer-train)
configure_package_config_file(cmake/seer-train-config.cmake.in ${PROJECT_BINARY_DIR}/seer-train-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/seer-train)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/seer-train-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/seer-train-config.cmake ${PROJECT_BINARY_DIR}/seer-train-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/seer-train)
