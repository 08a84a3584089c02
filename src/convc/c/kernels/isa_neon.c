/* Every kernel, compiled for NEON. */
#include "../conv.h"

#define ISA neon
#define VEC_NEON
#define F64 0
#include "templates.h"
#undef F64
#define F64 1
#include "templates.h"
#undef F64

const convc_kernels *const convc_kernels_neon[2] = {&table_f32_neon, &table_f64_neon};
