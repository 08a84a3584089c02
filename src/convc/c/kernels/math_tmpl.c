/* The exponential, and from it the logistic function, the hyperbolic tangent and the normal distribution: of vectors, with errors of a few
 * units in the last place over the whole range. A lane's result depends on that lane alone. NaN stays NaN.
 *
 * Polynomials are minimax: in float32 2^-29, in float64 2^-57 of the result. */

#undef TERMS
#undef LN2_HIGH
#undef LN2_LOW
#undef LOWEST
#undef FARTHEST
#undef TAIL_SCALE
#undef TINY
#define TERMS(c) c, (int)(sizeof(c) / sizeof *(c))

/* LN2_HIGH times an exponent is exact; x^3 e^x is 0 below LOWEST, and so is the
 * normal distribution below -FARTHEST; tanh x is x below TINY. */
#if F64
#define LN2_HIGH 0x1.62e42fefap-1
#define LN2_LOW 0x1.cf79abc9e3b39p-40
#define LOWEST -800.0
#define FARTHEST 39.0
#define TAIL_SCALE 5.0
#define TINY 0x1p-28
/* (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2 */
static const real FN(exp_terms)[] = {0.5,
                                     0.1666666666666667,
                                     0.041666666666666685,
                                     0.008333333333326082,
                                     0.0013888888888874294,
                                     0.0001984126987500567,
                                     2.4801587347587177e-05,
                                     2.7557255166245233e-06,
                                     2.7557252673292366e-07,
                                     2.5105314116534945e-08,
                                     2.092167017912071e-09};
/* (t + TAIL_SCALE) e^(t^2 / 2) Phi(-t) in u = 1 - 2 TAIL_SCALE / (t + TAIL_SCALE), for 0 <= t <= FARTHEST */
static const real FN(tail_terms)[] = {
    0.769193049750063,      -0.6653825028900567,    0.4953056159699773,     -0.3135331566712962,    0.1650203661703374,
    -0.06911863870656995,   0.02079506680083782,    -0.0029933767667063094, -0.0007978694080109188, 0.0005448990333948308,
    -5.937567478597914e-05, -4.976265492630732e-05, 1.668104119882476e-05,  3.980384737958473e-06,  -2.7689524209148255e-06,
    -3.355372390893143e-07, 4.328840109933699e-07,  4.088051780471533e-08,  -6.60114411868881e-08,  -8.294816028618772e-09,
    7.942137513158716e-09,  1.431974464849547e-09,  -3.028894296760401e-10};
#else
#define LN2_HIGH 0x1.62ep-1f
#define LN2_LOW 0x1.0bfbe8p-15f
#define LOWEST -120.0f
#define FARTHEST 15.0f
#define TAIL_SCALE 3.0f
#define TINY 0x1p-14f
static const real FN(exp_terms)[] = {0.5f, 0.166666672f, 0.041666463f, 0.00833328627f, 0.00139337359f, 0.00019907704f};
static const real FN(tail_terms)[] = {0.729083717f,     -0.509332001f,   0.230017707f,   -0.0472626872f,
                                      -0.0104625132f,   0.00696931127f,  0.0010247539f,  -0.00103257317f,
                                      -0.000244729832f, 0.000131329842f, 5.44887989e-05f};
#endif

/* c[0] + c[1] x + ...: even and odd powers apart, so that two chains of additions run side by side */
static inline ALWAYS_INLINE vec FN(polynomial)(vec x, const real *c, const int terms) {
    vec square = vmul(x, x), sum[2] = {vset1(c[terms - 1]), vset1(c[terms - 2])};
    UNROLL for (int i = terms - 3; i >= 0; i--) sum[(terms - 1 - i) % 2] = vfma(sum[(terms - 1 - i) % 2], square, vset1(c[i]));
    return terms % 2 ? vfma(sum[1], x, sum[0]) : vfma(sum[0], x, sum[1]);
}

static inline vec FN(absolute)(vec x) { return vmax_or_second(x, vsub(vzero(), x)); }

/* e^x = (1 + excess) 2^n, with the excess from 1 / sqrt 2 - 1 to sqrt 2 - 1 to full relative precision */
typedef struct FN(exponential) {
    vec excess, n;
} FN(exponential);

static inline FN(exponential) FN(exponential_of)(vec x) {
    vec n = vwhole_product(x, vset1((real)1.4426950408889634));
    vec r = vfma(n, vset1(-LN2_LOW), vfma(n, vset1(-LN2_HIGH), x));
    return (FN(exponential)){vfma(vmul(r, r), FN(polynomial)(r, TERMS(FN(exp_terms))), r), n};
}

/* m 2^n where that is a normal number; else one that is small beside 1 */
static inline vec FN(beside_1)(vec m, vec n) { return vmul(m, vpower(vmax_or_second(vset1(1 - BIAS), n))); }

/* ---- the logistic function s(z) = 1 / (1 + e^-z) ---- */

/* s(z) = top / sum 2^n, and s(-z) = other / sum where that matters beside s(z) */
typedef struct FN(logistic) {
    vec top, n, other, sum;
} FN(logistic);

static inline FN(logistic) FN(logistic_of)(vec z) {
    vec one = vset1(1);
    FN(exponential) e = FN(exponential_of)(vmax_or_second(vset1(LOWEST), vminus_abs(z)));
    vec m = vadd(one, e.excess), small = FN(beside_1)(m, e.n);
    vmask negative = vgt(vzero(), z);
    return (FN(logistic)){vselect(negative, m, one), vselect(negative, e.n, vzero()), vselect(negative, one, small),
                          vadd(one, small)};
}

static inline vec FN(logistic_value)(vec z) {
    FN(logistic) s = FN(logistic_of)(z);
    return vscale_down(vdiv(s.top, s.sum), s.n);
}

/* x s(z), where z is of x's sign; 0 is its limit for x = -inf */
static inline vec FN(gated)(vec x, vec z) {
    FN(logistic) s = FN(logistic_of)(z);
    return vscale(vdiv(vmul(vmax_or_second(vset1(LOWEST), x), s.top), s.sum), s.n);
}

/* Its derivative, s(z) (1 + x s(-z) dz/dx), for finite x */
static inline vec FN(gated_slope)(vec x, vec z, vec dz) {
    FN(logistic) s = FN(logistic_of)(z);
    vec r = vdiv(vset1(1), s.sum), rest = vmul(vmul(x, vmul(s.other, r)), dz);
    return vscale_down(vmul(vmul(s.top, r), vadd(vset1(1), rest)), s.n);
}

/* ---- tanh |x| = (1 - e^(-2|x|)) / (1 + e^(-2|x|)) ---- */

static inline vec FN(tanh_value)(vec x) {
    vec size = FN(absolute)(x);
    FN(exponential) e = FN(exponential_of)(vmax_or_second(vset1(-60), vmul(vset1(-2), size)));
    vec power = vpower(e.n), less = vfma(power, e.excess, vsub(power, vset1(1))); /* e^(-2|x|) - 1 */
    vec y = vdiv(less, vadd(vset1(2), less));
    return vselect(vgt(vset1(TINY), size), x, vselect(vgt(x, vzero()), vsub(vzero(), y), y));
}

/* ---- the normal distribution Phi, its density phi ---- */

/* Phi(low) = m ratio 2^n and phi(low) = m 2^n / sqrt(2 pi), for low = -|x|, -FARTHEST at least */
typedef struct FN(normal) {
    vec low, m, n, ratio;
} FN(normal);

static inline FN(normal) FN(normal_of)(vec x) {
    vec low = vmax_or_second(vset1(-FARTHEST), vminus_abs(x));
    /* The rounding error of a large square would be a large relative error of e^(-square / 2). */
    vec square = vmul(low, low), rest = vsquare_rest(low, square);
    FN(exponential) e = FN(exponential_of)(vmul(square, vset1((real)-0.5)));
    vec m = vadd(vset1(1), e.excess), r = vdiv(vset1(1), vsub(vset1(TAIL_SCALE), low));
    vec u = vfma(r, vset1(-2 * TAIL_SCALE), vset1(1));
    return (FN(normal)){low, vfma(m, vmul(rest, vset1((real)-0.5)), m), e.n, vmul(FN(polynomial)(u, TERMS(FN(tail_terms))), r)};
}

/* x Phi(x), which is low Phi(low) for negative x, and x more for positive ones; 0 is its limit for x = -inf */
static inline vec FN(gelu_value)(vec x) {
    FN(normal) p = FN(normal_of)(x);
    vec tail = vscale_down(vmul(vmul(p.ratio, p.m), p.low), p.n);
    return vselect(vgt(vzero(), x), tail, vadd(x, tail)); /* 0 + tail would lose the sign of a tail that vanishes */
}

/* Its derivative, Phi(x) + x phi(x), which is 1 - that of -x */
static inline vec FN(gelu_slope)(vec x) {
    FN(normal) p = FN(normal_of)(x);
    vec slope = vscale_down(vmul(p.m, vfma(p.low, vset1((real)0.3989422804014327), p.ratio)), p.n);
    return vselect(vgt(vzero(), x), slope, vsub(vset1(1), slope));
}
