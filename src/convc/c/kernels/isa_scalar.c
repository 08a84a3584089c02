/* Every kernel, compiled for SCALAR. */
#include "../conv.h"

#define ISA scalar
#define VEC_SCALAR
#define F64 0
#include "templates.h"
#undef F64
#define F64 1
#include "templates.h"
#undef F64

const convc_kernels *const convc_kernels_scalar[2] = {&table_f32_scalar, &table_f64_scalar};
