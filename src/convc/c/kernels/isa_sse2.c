/* Every kernel, compiled for SSE2. */
#include "../conv.h"

#define ISA sse2
#define VEC_SSE2
#define F64 0
#include "templates.h"
#undef F64
#define F64 1
#include "templates.h"
#undef F64

const convc_kernels *const convc_kernels_sse2[2] = {&table_f32_sse2, &table_f64_sse2};
