/* The two macros of the kernel templates: FN(x) gives a function its dtype and ISA suffix, `real` is the element type.
 * A kernels/isa_*.c file defines ISA and includes every template twice, with F64 as 0 and as 1. All names below expand where
 * they are used, so one set of definitions serves both passes. */
#ifndef CONVC_DTYPE_H
#define CONVC_DTYPE_H

#define CAT_(a, b, c) a##_##b##_##c
#define CAT(a, b, c) CAT_(a, b, c)
#define FN(x) CAT(x, DTYPE, ISA)
#define real FN(real)

/* The vocabulary of vec.h. */
#define vec FN(vec)
#define vmask FN(vmask)
#define vzero FN(vzero)
#define vset1 FN(vset1)
#define vload FN(vload)
#define veven FN(veven)
#define vpick FN(vpick)
#define vreorder FN(vreorder)
#define vpick_span FN(vpick_span)
#define vpick_step FN(vpick_step)
#define vload_masked FN(vload_masked)
#define vspan FN(vspan)
#define vspan_of FN(vspan_of)
#define vload_span FN(vload_span)
#define vload_step FN(vload_step)
#define vstore_step FN(vstore_step)
#define vstore FN(vstore)
#define vstore_first FN(vstore_first)
#define vadd FN(vadd)
#define vsub FN(vsub)
#define vzip_low FN(vzip_low)
#define vzip_high FN(vzip_high)
#define vtranspose FN(vtranspose)
#define vlane FN(vlane)
#define vpermute FN(vpermute)
#define vmul FN(vmul)
#define vdiv FN(vdiv)
#define vsqrt FN(vsqrt)
#define vfma FN(vfma)
#define vmax_or_second FN(vmax_or_second)
#define vor FN(vor)
#define vexponent FN(vexponent)
#define vwhole FN(vwhole)
#define vwhole_product FN(vwhole_product)
#define vpower FN(vpower)
#define vscale FN(vscale)
#define vscale_down FN(vscale_down)
#define vminus_abs FN(vminus_abs)
#define vsquare_rest FN(vsquare_rest)
#define vlanes FN(vlanes)
#define vgt FN(vgt)
#define visnan FN(visnan)
#define vmask_or FN(vmask_or)
#define vselect FN(vselect)

#endif

#undef DTYPE
#if F64
#define DTYPE f64
typedef double real;
#else
#define DTYPE f32
typedef float real;
#endif
