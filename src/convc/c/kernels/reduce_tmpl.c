/* Sums of channels over a line of pixels: short sums in vectors of `real`, their totals in double. */

#undef SHORT
#undef SUM_GROUP
#define SHORT 64 /* additions that one accumulator takes */
#define SUM_GROUP 4

static inline void FN(add_lanes)(double *sums, vec v, int64_t lanes) {
    real lane[VL];
    vstore(lane, v);
    for (int64_t i = 0; i < lanes; i++) sums[i] += (double)lane[i];
}

/* sums[i] += element i of `count` vectors, or the first `lanes` of one, over n pixels `step` apart */
static inline ALWAYS_INLINE void FN(sum_across)(const real *x, int64_t step, int64_t n, const int count, int64_t lanes,
                                                double *sums) {
    vmask mask = vlanes(0, (int)lanes);
    for (int64_t i = 0; i < n; i += SHORT) {
        vec acc[SUM_GROUP];
        const real *end = x + min_i64(SHORT, n - i) * step;
        EACH (v, count) acc[v] = vzero();
        for (; x != end; x += step)
            EACH (v, count) acc[v] = vadd(acc[v], lanes == VL ? vload(x + v * VL) : vload_masked(x, mask));
        EACH (v, count) FN(add_lanes)(sums + v * VL, acc[v], lanes);
    }
}

/* The sum of n contiguous elements. */
static double FN(sum_along)(const real *x, int64_t n) {
    double sums[VL] = {0};
    while (n > 0) {
        vec acc[SUM_GROUP];
        int64_t left = min_i64(n, SHORT * SUM_GROUP * VL);
        n -= left;
        EACH (v, SUM_GROUP) acc[v] = vzero();
        for (; left >= SUM_GROUP * VL; left -= SUM_GROUP * VL, x += SUM_GROUP * VL)
            EACH (v, SUM_GROUP) acc[v] = vadd(acc[v], vload(x + v * VL));
        for (; left >= VL; left -= VL, x += VL) acc[0] = vadd(acc[0], vload(x));
        if (left > 0) acc[1] = vadd(acc[1], vload_masked(x, vlanes(0, (int)left)));
        FN(add_lanes)(sums, vadd(vadd(acc[0], acc[1]), vadd(acc[2], acc[3])), VL);
    }
    for (int half = VL / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) sums[i] += sums[i + half];
    return sums[0];
}

/* sums[c] += the sum of x[i * step + c * stride_c] over i < n */
static void FN(sum_line)(const void *data, int64_t step, int64_t n, int64_t stride_c, int64_t channels, double *sums) {
    const real *x = data;
    int64_t c = 0;
    if (stride_c == 1 && channels > 1 && step != 0) {
        for (; c + SUM_GROUP * VL <= channels; c += SUM_GROUP * VL) FN(sum_across)(x + c, step, n, SUM_GROUP, VL, sums + c);
        for (; c + VL <= channels; c += VL) FN(sum_across)(x + c, step, n, 1, VL, sums + c);
        if (c < channels) FN(sum_across)(x + c, step, n, 1, channels - c, sums + c);
        return;
    }
    for (; c < channels; c++) {
        if (step == 1) sums[c] += FN(sum_along)(x + c * stride_c, n);
        else
            for (int64_t i = 0; i < n; i++) sums[c] += (double)x[c * stride_c + i * step];
    }
}
