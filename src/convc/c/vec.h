/* The SIMD vocabulary: a vector `vec` of VL elements `real` and a dozen operations, one section an ISA. In scalar code a vector has
 * width 1, so that every kernel is written once. Included once for each dtype by kernels/templates.h.
 *
 *   vpick(a, b)            a[0], a[2], ..., b[1], b[3], ...: the even elements of p, from vload(p) and vload(p + VL - 1), in
 *                          whatever order costs least; vreorder(v) brings them to memory's order, or from it to that order
 *   veven(a, b)            the same in memory's order
 *   vload_masked(p, m)     zero where the mask is off; touches no memory there
 *   vstore_first(p, v, n)  the first n lanes, 0 <= n <= VL; by no mask on AVX2, where that takes 25 cycles on some machines
 *   vfma(a, b, c)          a * b + c, fused where the ISA can
 *   vmax_or_second(a, b)   the greater; b where they are unordered or equal, so that max(0, x) passes NaN on
 *   vlanes(lo, hi)         a mask of the lanes lo <= i < hi (bounds may lie outside 0..VL)
 *   vselect(m, a, b)       a where m, else b
 *   vwhole(x)              x rounded to a whole number, of which an exponent is made
 *   vwhole_product(a, b)   the same of a * b
 *   vpower(n)              2^n for whole n that are exponents of normal numbers
 *   vscale(x, n)           x 2^n for n down to twice the lowest exponent; only the last multiplication rounds to a denormal number
 *   vscale_down(x, n)      the same, in fewer steps, where n <= 0 and the result is below 2; n as for vscale
 *   vminus_abs(a)          -|a|
 *   vsquare_rest(a, s)     a * a - s, where s is a * a rounded, nearly exactly; for a that are no very large numbers
 *   vzip_low(a, b)         a[0], b[0], a[1], b[1], ...; vzip_high goes on from there
 *   vtranspose(v)          VL vectors as the rows of a square become its columns
 *   vload_step(p, step)    p[0], p[step], ...; step is 1 or 2; reads nothing beyond the last of them
 *   vpick_step(p, step)    the same in the order of vpick if the step is 2
 *   vpermute(v, from)      lane i is lane k of v, where from[i] is vlane(k) */

#undef VL
#undef X
#if F64
typedef uint64_t FN(word);
#else
typedef uint32_t FN(word);
#endif

#if defined(VEC_AVX512)
#include <immintrin.h>
#if F64
#define X(op) CAT(_mm512, op, pd)
#define VL 8
typedef __m512d vec;
typedef __mmask8 vmask;
#else
#define X(op) CAT(_mm512, op, ps)
#define VL 16
typedef __m512 vec;
typedef __mmask16 vmask;
#endif
static inline vec vzero(void) { return X(setzero)(); }
static inline vec vset1(real x) { return X(set1)(x); }
static inline vec vload(const real *p) { return X(loadu)(p); }
static inline vec vload_masked(const real *p, vmask m) { return X(maskz_loadu)(m, p); }
static inline void vstore(real *p, vec v) { X(storeu)(p, v); }
static inline void vstore_first(real *p, vec v, int n) { X(mask_storeu)(p, (vmask)((1u << n) - 1), v); }
static inline vec vadd(vec a, vec b) { return X(add)(a, b); }
static inline vec vsub(vec a, vec b) { return X(sub)(a, b); }
static inline vec vmul(vec a, vec b) { return X(mul)(a, b); }
static inline vec vdiv(vec a, vec b) { return X(div)(a, b); }
static inline vec vsqrt(vec a) { return X(sqrt)(a); }
static inline vec vfma(vec a, vec b, vec c) { return X(fmadd)(a, b, c); }
static inline vec vmax_or_second(vec a, vec b) { return X(max)(a, b); }
static inline vec vor(vec a, vec b) { return X(or)(a, b); }
static inline vmask vlanes(int lo, int hi) {
    lo = lo < 0 ? 0 : lo > VL ? VL : lo;
    hi = hi < 0 ? 0 : hi > VL ? VL : hi;
    return (vmask)((1u << hi) - 1u) & (vmask) ~((1u << lo) - 1u);
}
static inline vec vselect(vmask m, vec a, vec b) { return X(mask_blend)(m, b, a); }
static inline vmask vmask_or(vmask a, vmask b) { return (vmask)(a | b); }
#if F64
static inline vmask vgt(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
static inline vmask visnan(vec a) { return _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q); }
static inline vec vpick(vec a, vec b) {
    const __m512i pick = _mm512_set_epi64(15, 13, 11, 9, 6, 4, 2, 0);
    return _mm512_permutex2var_pd(a, pick, b);
}
static inline vec vzip_low(vec a, vec b) { return _mm512_permutex2var_pd(a, _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), b); }
static inline vec vzip_high(vec a, vec b) { return _mm512_permutex2var_pd(a, _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4), b); }
#else
static inline vmask vgt(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline vmask visnan(vec a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
static inline vec vpick(vec a, vec b) {
    const __m512i pick = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_ps(a, pick, b);
}
static inline vec vzip_low(vec a, vec b) {
    const __m512i pick = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutex2var_ps(a, pick, b);
}
static inline vec vzip_high(vec a, vec b) {
    const __m512i pick = _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8);
    return _mm512_permutex2var_ps(a, pick, b);
}
#endif

#elif defined(VEC_AVX2)
#include <immintrin.h>
#if F64
#define X(op) CAT(_mm256, op, pd)
#define VL 4
typedef __m256d vec;
#else
#define X(op) CAT(_mm256, op, ps)
#define VL 8
typedef __m256 vec;
#endif
typedef vec vmask;
static inline vec vzero(void) { return X(setzero)(); }
static inline vec vset1(real x) { return X(set1)(x); }
static inline vec vload(const real *p) { return X(loadu)(p); }
static inline void vstore(real *p, vec v) { X(storeu)(p, v); }
static inline vec vadd(vec a, vec b) { return X(add)(a, b); }
static inline vec vsub(vec a, vec b) { return X(sub)(a, b); }
static inline vec vmul(vec a, vec b) { return X(mul)(a, b); }
static inline vec vdiv(vec a, vec b) { return X(div)(a, b); }
static inline vec vsqrt(vec a) { return X(sqrt)(a); }
static inline vec vfma(vec a, vec b, vec c) { return X(fmadd)(a, b, c); }
static inline vec vmax_or_second(vec a, vec b) { return X(max)(a, b); }
static inline vec vor(vec a, vec b) { return X(or)(a, b); }
static inline vmask vgt(vec a, vec b) { return X(cmp)(a, b, _CMP_GT_OQ); }
static inline vmask visnan(vec a) { return X(cmp)(a, a, _CMP_UNORD_Q); }
static inline vmask vmask_or(vmask a, vmask b) { return X(or)(a, b); }
static inline vec vselect(vmask m, vec a, vec b) { return X(blendv)(b, a, m); }
#if F64
static inline vec vexponent(vec a) { return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(a), 52)); }
static inline vec vload_masked(const real *p, vmask m) { return X(maskload)(p, _mm256_castpd_si256(m)); }
static inline void vstore_first(real *p, vec v, int n) {
    if (n == VL) {
        vstore(p, v);
        return;
    }
    __m128d rest = _mm256_castpd256_pd128(v);
    if (n & 2) {
        _mm_storeu_pd(p, rest);
        rest = _mm256_extractf128_pd(v, 1);
        p += 2;
    }
    if (n & 1) _mm_store_sd(p, rest);
}
static inline vmask vlanes(int lo, int hi) {
    const __m256d i = _mm256_set_pd(3, 2, 1, 0);
    return _mm256_and_pd(_mm256_cmp_pd(i, vset1(lo), _CMP_GE_OQ), _mm256_cmp_pd(i, vset1(hi), _CMP_LT_OQ));
}
static inline vec vpick(vec a, vec b) { return _mm256_shuffle_pd(a, b, 0xA); /* a0 b1 a2 b3 */ }
static inline vec vreorder(vec v) { return _mm256_permute4x64_pd(v, 0xD8); }
#define HALVES(a, b, pick) _mm256_permute2f128_pd(a, b, pick)
#else
static inline vec vexponent(vec a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23)); }
static inline vec vload_masked(const real *p, vmask m) { return X(maskload)(p, _mm256_castps_si256(m)); }
static inline void vstore_first(real *p, vec v, int n) {
    if (n == VL) {
        vstore(p, v);
        return;
    }
    __m128 rest = _mm256_castps256_ps128(v);
    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, rest);
}
static inline vmask vlanes(int lo, int hi) {
    const __m256 i = _mm256_set_ps(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_and_ps(_mm256_cmp_ps(i, vset1((real)lo), _CMP_GE_OQ), _mm256_cmp_ps(i, vset1((real)hi), _CMP_LT_OQ));
}
static inline vec vpick(vec a, vec b) { return _mm256_shuffle_ps(a, b, 0xD8); /* a0 a2 b1 b3 a4 a6 b5 b7 */ }
static inline vec vreorder(vec v) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xD8)); }
#define HALVES(a, b, pick) _mm256_permute2f128_ps(a, b, pick)
#endif
static inline vec vzip_low(vec a, vec b) { return HALVES(X(unpacklo)(a, b), X(unpackhi)(a, b), 0x20); }
static inline vec vzip_high(vec a, vec b) { return HALVES(X(unpacklo)(a, b), X(unpackhi)(a, b), 0x31); }
#undef HALVES

#elif defined(VEC_SSE2)
#include <emmintrin.h>
#if F64
#define X(op) CAT(_mm, op, pd)
#define VL 2
typedef __m128d vec;
#else
#define X(op) CAT(_mm, op, ps)
#define VL 4
typedef __m128 vec;
#endif
typedef vec vmask;
static inline vec vzero(void) { return X(setzero)(); }
static inline vec vset1(real x) { return X(set1)(x); }
static inline vec vload(const real *p) { return X(loadu)(p); }
static inline void vstore(real *p, vec v) { X(storeu)(p, v); }
static inline vec vadd(vec a, vec b) { return X(add)(a, b); }
static inline vec vsub(vec a, vec b) { return X(sub)(a, b); }
static inline vec vmul(vec a, vec b) { return X(mul)(a, b); }
static inline vec vdiv(vec a, vec b) { return X(div)(a, b); }
static inline vec vsqrt(vec a) { return X(sqrt)(a); }
static inline vec vfma(vec a, vec b, vec c) { return X(add)(X(mul)(a, b), c); }
static inline vec vmax_or_second(vec a, vec b) { return X(max)(a, b); }
static inline vec vor(vec a, vec b) { return X(or)(a, b); }
static inline vmask vgt(vec a, vec b) { return X(cmpgt)(a, b); }
static inline vmask visnan(vec a) { return X(cmpunord)(a, a); }
static inline vmask vmask_or(vmask a, vmask b) { return X(or)(a, b); }
static inline vec vselect(vmask m, vec a, vec b) { return X(or)(X (and)(m, a), X(andnot)(m, b)); }
static inline vec vload_masked(const real *p, vmask m) {
    real lanes[VL];
    int on = X(movemask)(m);
    for (int i = 0; i < VL; i++) lanes[i] = on >> i & 1 ? p[i] : 0;
    return vload(lanes);
}
static inline void vstore_first(real *p, vec v, int n) {
    real lanes[VL];
    vstore(lanes, v);
    for (int i = 0; i < n; i++) p[i] = lanes[i];
}
#if F64
static inline vec vexponent(vec a) { return _mm_castsi128_pd(_mm_slli_epi64(_mm_castpd_si128(a), 52)); }
static inline vmask vlanes(int lo, int hi) {
    const vec i = _mm_set_pd(1, 0);
    return _mm_and_pd(_mm_cmpge_pd(i, vset1(lo)), _mm_cmplt_pd(i, vset1(hi)));
}
static inline vec vpick(vec a, vec b) { return _mm_shuffle_pd(a, b, 2); }
#else
static inline vec vexponent(vec a) { return _mm_castsi128_ps(_mm_slli_epi32(_mm_castps_si128(a), 23)); }
static inline vmask vlanes(int lo, int hi) {
    const vec i = _mm_set_ps(3, 2, 1, 0);
    return _mm_and_ps(_mm_cmpge_ps(i, vset1((real)lo)), _mm_cmplt_ps(i, vset1((real)hi)));
}
static inline vec vpick(vec a, vec b) { return _mm_shuffle_ps(a, b, 0xD8); }
#endif
static inline vec vzip_low(vec a, vec b) { return X(unpacklo)(a, b); }
static inline vec vzip_high(vec a, vec b) { return X(unpackhi)(a, b); }

#elif defined(VEC_NEON)
#include <arm_neon.h>
#undef BITS
#if F64
#define X(op) v##op##_f64
#define BITS(op) v##op##_u64
#define VL 2
typedef float64x2_t vec;
typedef uint64x2_t vmask;
static inline vmask FN(bits)(vec a) { return vreinterpretq_u64_f64(a); }
static inline vec FN(from_bits)(vmask a) { return vreinterpretq_f64_u64(a); }
#else
#define X(op) v##op##_f32
#define BITS(op) v##op##_u32
#define VL 4
typedef float32x4_t vec;
typedef uint32x4_t vmask;
static inline vmask FN(bits)(vec a) { return vreinterpretq_u32_f32(a); }
static inline vec FN(from_bits)(vmask a) { return vreinterpretq_f32_u32(a); }
#endif
static inline vec vzero(void) { return X(dupq_n)(0); }
static inline vec vset1(real x) { return X(dupq_n)(x); }
static inline vec vload(const real *p) { return X(ld1q)(p); }
static inline void vstore(real *p, vec v) { X(st1q)(p, v); }
static inline vec vadd(vec a, vec b) { return X(addq)(a, b); }
static inline vec vsub(vec a, vec b) { return X(subq)(a, b); }
static inline vec vmul(vec a, vec b) { return X(mulq)(a, b); }
static inline vec vdiv(vec a, vec b) { return X(divq)(a, b); }
static inline vec vsqrt(vec a) { return X(sqrtq)(a); }
static inline vec vfma(vec a, vec b, vec c) { return X(fmaq)(c, a, b); }
static inline vmask vgt(vec a, vec b) { return X(cgtq)(a, b); }
static inline vmask visnan(vec a) { return BITS(eorq)(X(ceqq)(a, a), BITS(dupq_n)((FN(word)) - 1)); }
static inline vmask vmask_or(vmask a, vmask b) { return BITS(orrq)(a, b); }
static inline vec vselect(vmask m, vec a, vec b) { return X(bslq)(m, a, b); }
static inline vec vmax_or_second(vec a, vec b) { return vselect(vgt(a, b), a, b); }
static inline vec vor(vec a, vec b) { return FN(from_bits)(BITS(orrq)(FN(bits)(a), FN(bits)(b))); }
static inline vec vexponent(vec a) { return FN(from_bits)(BITS(shlq_n)(FN(bits)(a), F64 ? 52 : 23)); }
static inline vmask vlanes(int lo, int hi) {
    FN(word) on[VL];
    for (int i = 0; i < VL; i++) on[i] = lo <= i && i < hi ? (FN(word)) - 1 : 0;
    return BITS(ld1q)(on);
}
static inline vec vpick(vec a, vec b) {
    real lanes[2 * VL];
    vstore(lanes, a);
    vstore(lanes + VL - 1, b);
    for (int i = 0; i < VL; i++) lanes[i] = lanes[2 * i];
    return vload(lanes);
}
static inline vec vzip_low(vec a, vec b) { return X(zip1q)(a, b); }
static inline vec vzip_high(vec a, vec b) { return X(zip2q)(a, b); }
static inline vec vload_masked(const real *p, vmask m) {
    FN(word) on[VL];
    real lanes[VL];
    BITS(st1q)(on, m);
    for (int i = 0; i < VL; i++) lanes[i] = on[i] ? p[i] : 0;
    return vload(lanes);
}
static inline void vstore_first(real *p, vec v, int n) {
    real lanes[VL];
    vstore(lanes, v);
    for (int i = 0; i < n; i++) p[i] = lanes[i];
}

#else

#define VL 1
typedef real vec;
typedef int vmask;
static inline vec vzero(void) { return 0; }
static inline vec vset1(real x) { return x; }
static inline vec vload(const real *p) { return *p; }
static inline vec vpick(vec a, vec b) { return (void)b, a; }
static inline vec vzip_low(vec a, vec b) { return (void)b, a; }
static inline vec vzip_high(vec a, vec b) { return (void)a, b; }
static inline vec vload_masked(const real *p, vmask m) { return m ? *p : 0; }
static inline void vstore(real *p, vec v) { *p = v; }
static inline void vstore_first(real *p, vec v, int n) {
    if (n > 0) *p = v;
}
static inline vec vadd(vec a, vec b) { return a + b; }
static inline vec vsub(vec a, vec b) { return a - b; }
static inline vec vmul(vec a, vec b) { return a * b; }
static inline vec vdiv(vec a, vec b) { return a / b; }
static inline vec vsqrt(vec a) { return (real)sqrt((double)a); }
static inline vec vfma(vec a, vec b, vec c) { return a * b + c; }
static inline vec vmax_or_second(vec a, vec b) { return a > b ? a : b; }
static inline vec vexponent(vec a) {
    FN(word) bits;
    memcpy(&bits, &a, sizeof bits);
    bits <<= F64 ? 52 : 23;
    memcpy(&a, &bits, sizeof a);
    return a;
}
/* Only ever joins a lane with a zero one. */
static inline vec vor(vec a, vec b) { return a != 0 || a != a ? a : b; }
static inline vmask vlanes(int lo, int hi) { return lo <= 0 && hi > 0; }
static inline vmask vgt(vec a, vec b) { return a > b; }
static inline vmask visnan(vec a) { return a != a; }
static inline vmask vmask_or(vmask a, vmask b) { return a | b; }
static inline vec vselect(vmask m, vec a, vec b) { return m ? a : b; }

#endif

/* Added to a number, SHIFT leaves no room for digits after the point: they are rounded away, and the lowest bits are those of a whole
 * number. vexponent moves these up to where the exponent is. */
#undef SHIFT
#undef BIAS
#undef LEAST
#undef SPLITTER
#if F64
#define SHIFT 6755399441055744.0
#define BIAS 1023
#define LEAST 0x1p-1022 /* 2^(1 - BIAS), the lowest normal number */
#define SPLITTER 134217729.0 /* leaves half of the digits */
#else
#define SHIFT 12582912.0f
#define BIAS 127
#define LEAST 0x1p-126f
#define SPLITTER 4097.0f
#endif
static inline vec vwhole(vec x) { return vsub(vadd(x, vset1(SHIFT)), vset1(SHIFT)); }
static inline vec vwhole_product(vec a, vec b) { return vsub(vfma(a, b, vset1(SHIFT)), vset1(SHIFT)); }
#if defined(VEC_AVX512)
static inline vec vpower(vec n) { return X(scalef)(vset1(1), n); }
static inline vec vscale(vec x, vec n) { return X(scalef)(x, n); }
static inline vec vscale_down(vec x, vec n) { return X(scalef)(x, n); }
#else
static inline vec vpower(vec n) { return vexponent(vadd(n, vset1(SHIFT + BIAS))); }
static inline vec vscale(vec x, vec n) {
    vec half = vwhole(vmul(n, vset1((real)0.5)));
    return vmul(vmul(x, vpower(half)), vpower(vsub(n, half)));
}
static inline vec vscale_down(vec x, vec n) {
    return vmul(vmul(x, vexponent(vadd(n, vset1(SHIFT + 2 * BIAS - 1)))), vset1(LEAST));
}
#endif
#if defined(VEC_AVX512) || defined(VEC_AVX2) || defined(VEC_NEON)
static inline vec vsquare_rest(vec a, vec square) { return vfma(a, a, vsub(vzero(), square)); }
#else
static inline vec vsquare_rest(vec a, vec square) {
    vec part = vmul(a, vset1(SPLITTER)), high = vsub(part, vsub(part, a));
    return vadd(vmul(vsub(a, high), vadd(a, high)), vsub(vmul(high, high), square));
}
#endif
#if defined(VEC_AVX512) || defined(VEC_AVX2) || defined(VEC_SSE2) || defined(VEC_NEON)
static inline vec vminus_abs(vec a) { return vor(a, vset1((real)-0.0)); }
#else
static inline vec vminus_abs(vec a) { return (real)copysign((double)a, -1.0); }
#endif

#if defined(VEC_AVX2) && F64 /* of a permutation of 32-bit halves, which is the only one by a variable */
static inline FN(word) vlane(int64_t k) { return (FN(word))(2 * k) | (FN(word))(2 * k + 1) << 32; }
#else
static inline FN(word) vlane(int64_t k) { return (FN(word))k; }
#endif
static inline vec vpermute(vec v, const FN(word) * from) {
#if defined(VEC_AVX512)
    return X(permutexvar)(_mm512_loadu_si512(from), v);
#elif defined(VEC_AVX2)
    __m256i lanes = _mm256_loadu_si256((const __m256i *)from);
#if F64
    return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(v), lanes));
#else
    return _mm256_permutevar8x32_ps(v, lanes);
#endif
#else
    real old[VL], lanes[VL];
    vstore(old, v);
    for (int i = 0; i < VL; i++) lanes[i] = old[from[i]];
    return vload(lanes);
#endif
}

#ifndef VEC_AVX2
static inline vec vreorder(vec v) { return v; }
#endif
static inline vec veven(vec a, vec b) { return vreorder(vpick(a, b)); }

/* Elements one or two apart: what of memory lanes lo <= i < hi are in, and those lanes, the others zero. */
typedef struct vspan {
    vmask low, high;
} vspan;
static inline vspan vspan_of(int64_t step, int lo, int hi) {
    if (step == 1) return (vspan){vlanes(lo, hi), vlanes(0, 0)};
    return (vspan){vlanes(2 * lo, 2 * hi - 1), vlanes(2 * lo - VL + 1, 2 * hi - VL)};
}
static inline vec vpick_span(const real *p, int64_t step, vspan s) {
    return step == 1 ? vload_masked(p, s.low) : vpick(vload_masked(p, s.low), vload_masked(p + VL - 1, s.high));
}
static inline vec vload_span(const real *p, int64_t step, vspan s) {
    return step == 1 ? vpick_span(p, 1, s) : vreorder(vpick_span(p, 2, s));
}
static inline vec vpick_step(const real *p, int64_t step) { return step == 1 ? vload(p) : vpick(vload(p), vload(p + VL - 1)); }
static inline vec vload_step(const real *p, int64_t step) { return step == 1 ? vload(p) : vreorder(vpick_step(p, 2)); }
/* The first n lanes go to p[0], p[step], ...; any step. */
static inline void vstore_step(real *p, int64_t step, vec v, int n) {
    if (step == 1) {
        vstore_first(p, v, n);
        return;
    }
#if defined(VEC_AVX512)
    if (step == 2) {
        const vmask even = (vmask)0x5555;
        X(mask_storeu)(p, vlanes(0, 2 * n) & even, vzip_low(v, v));
        if (2 * n > VL) X(mask_storeu)(p + VL, vlanes(0, 2 * n - VL) & even, vzip_high(v, v));
        return;
    }
#endif
    real lane[VL];
    vstore(lane, v);
    for (int i = 0; i < n; i++) p[i * step] = lane[i];
}
static inline ALWAYS_INLINE void vtranspose(vec *v) {
    UNROLL for (int apart = 1; apart < VL; apart *= 2) {
        vec old[VL];
        EACH (i, VL) old[i] = v[i];
        EACH (i, VL / 2) {
            v[2 * i] = vzip_low(old[i], old[i + VL / 2]);
            v[2 * i + 1] = vzip_high(old[i], old[i + VL / 2]);
        }
    }
}
