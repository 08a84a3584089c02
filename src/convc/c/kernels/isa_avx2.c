/* Every kernel, compiled for AVX2. */
#include "../conv.h"

#define ISA avx2
#define VEC_AVX2
#define F64 0
#include "templates.h"
#undef F64
#define F64 1
#include "templates.h"
#undef F64

const convc_kernels *const convc_kernels_avx2[2] = {&table_f32_avx2, &table_f64_avx2};
