# cmake -DPTX=FILE -P: fails unless each product and sum of floats in it says how it is rounded and is
# not fused with another, so that nothing later fuses them either.
file(READ ${PTX} text)
string(REGEX MATCHALL "(fma|mad)\\.[a-z.]*f32|(mul|add|sub)\\.(ftz\\.)?f(32|64)" faults "${text}")
if(faults)
  list(REMOVE_DUPLICATES faults)
  message(FATAL_ERROR "${PTX} has ${faults}: it draws other tokens than the CPU (is -fmad=false gone?)")
endif()
string(FIND "${text}" "mul.rn.f32" found)
if(found EQUAL -1)
  message(FATAL_ERROR "${PTX} has no product at all: this check reads something else")
endif()
