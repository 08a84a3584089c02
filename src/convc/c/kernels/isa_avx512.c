/* Every kernel, compiled for AVX512. */
#include "../conv.h"

#define ISA avx512
#define VEC_AVX512
#define F64 0
#include "templates.h"
#undef F64
#define F64 1
#include "templates.h"
#undef F64

const convc_kernels *const convc_kernels_avx512[2] = {&table_f32_avx512, &table_f64_avx512};
