# Fails when an object file that is compiled for one instruction set defines a weak symbol that
# code for another could share: the linker keeps one of them, and a machine without the
# instructions would die in it.
#   cmake -DNM=nm -DOBJECTS="a.o;b.o" -DMARK=Avx512 -P isa_symbols_test.cmake
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} ${object} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE "\n" ";" lines "${text}")
  foreach(line IN LISTS lines)
    if(line MATCHES " [WVu] " AND NOT line MATCHES "${MARK}")
      message(SEND_ERROR "${object} defines the shared symbol: ${line}")
    endif()
  endforeach()
endforeach()
