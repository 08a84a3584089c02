/* Softmax and cross-entropy: rows of n elements. Exponentials have the dtype, and their sums, in double, run in a fixed order of eight. */

#undef CHUNK
#undef SUMS
#undef SHORT_SUM
#define CHUNK 2048 /* exponentials at a time */
#define SUMS 8
#define SHORT_SUM 16 /* products that one lane of a vector takes in */

/* e^(x - max) for x <= max; NaN stays. What the subtraction rounds off, which is a large part of a tiny result, is put back. */
static inline vec FN(exp_below)(vec x, vec max) {
    vec d = vsub(x, max), back = vsub(d, x), off = vsub(vsub(x, vsub(d, back)), vadd(max, back)), one = vset1(1);
    FN(exponential) e = FN(exponential_of)(vmax_or_second(vset1(LOWEST), d));
    off = vselect(visnan(off), vzero(), off); /* of infinities */
    return vscale_down(vadd(one, vfma(off, vadd(one, e.excess), e.excess)), e.n);
}

/* out[i] = e^(x[i] - max), i < n <= CHUNK; writes whole vectors */
static void FN(exponentials)(const real *x, int64_t step, real max, real *out, int64_t n) {
    for (int64_t i = 0; i < n; i += VL) vstore(out + i, FN(exp_below)(FN(load_some)(x + i * step, step, 0, n - i), vset1(max)));
}

static double FN(sum_of)(const real *x, int64_t n) {
    double sum[SUMS] = {0};
    int64_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int k = 0; k < SUMS; k++) sum[k] += (double)x[i + k];
    for (; i < n; i++) sum[i % SUMS] += (double)x[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

/* The greatest element of a row, NaN apart. */
static real FN(greatest_of)(const real *x, int64_t step, int64_t n) {
    real lane[VL], greatest = x[0];
    int64_t i = 0;
    if (step == 1 && n >= VL) {
        vec max = vload(x);
        for (i = VL; i + VL <= n; i += VL) max = vmax_or_second(vload(x + i), max);
        vstore(lane, max);
        for (int k = 0; k < VL; k++) greatest = lane[k] > greatest ? lane[k] : greatest;
    }
    for (; i < n; i++) greatest = x[i * step] > greatest ? x[i * step] : greatest;
    return greatest;
}

/* The greatest of a row, and the sum of e^(x - max). NaN anywhere makes the sum NaN. The last chunk's exponentials stay in e. */
static double FN(sum_exponentials)(const real *x, int64_t step, int64_t n, real *max, real *e) {
    double sum = 0;
    *max = FN(greatest_of)(x, step, n);
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t count = min_i64(CHUNK, n - i);
        FN(exponentials)(x + i * step, step, *max, e, count);
        sum += FN(sum_of)(e, count);
    }
    return sum;
}

/* y = e^x / sum(e^x) */
static void FN(softmax)(const void *from, int64_t x_step, void *to, int64_t y_step, int64_t n) {
    const real *x = from;
    real *y = to, max, e[CHUNK + VL];
    vec sum = vset1((real)FN(sum_exponentials)(x, x_step, n, &max, e));
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t count = min_i64(CHUNK, n - i);
        if (n > CHUNK) FN(exponentials)(x + i * x_step, x_step, max, e, count);
        for (int64_t k = 0; k < count; k += VL)
            vstore_step(y + (i + k) * y_step, y_step, vdiv(vload(e + k), sum), (int)min_i64(VL, count - k));
    }
}

/* grad_x = y * (grad_y - sum(grad_y * y)); products are added up VL at a time */
static inline ALWAYS_INLINE void FN(softmax_backward_row)(const real *g, int64_t g_step, const real *y, int64_t y_step, real *x,
                                                          int64_t x_step, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n;) {
        vec part = vzero();
        for (int64_t end = min_i64(n, i + SHORT_SUM * VL); i < end; i += VL)
            part = vfma(FN(load_some)(g + i * g_step, g_step, 0, n - i), FN(load_some)(y + i * y_step, y_step, 0, n - i), part);
        sum += FN(total)(part);
    }
    for (int64_t i = 0; i < n; i += VL) {
        vec apart = vsub(FN(load_some)(g + i * g_step, g_step, 0, n - i), vset1((real)sum));
        vec slope = vmul(FN(load_some)(y + i * y_step, y_step, 0, n - i), apart);
        vstore_step(x + i * x_step, x_step, slope, (int)min_i64(VL, n - i));
    }
}

static void FN(softmax_backward)(const void *grad, int64_t g_step, const void *output, int64_t y_step, void *to, int64_t x_step,
                                 int64_t n) {
    if (g_step == 1 && y_step == 1 && x_step == 1) FN(softmax_backward_row)(grad, 1, output, 1, to, 1, n);
    else FN(softmax_backward_row)(grad, g_step, output, y_step, to, x_step, n);
}

/* ---- rows that lie side by side, as those of maps with the channels first do: whole vectors of them,
 * each summed as above ---- */

#undef KEPT
#define KEPT 64 /* elements of a row whose exponentials are kept */

/* e[row] = e^(x[row] - max[row]) */
static inline void FN(exponentials_across)(const real *x, const real *max, real *e, int64_t rows) {
    for (int64_t row = 0; row < rows; row += VL) vstore(e + row, FN(exp_below)(vload(x + row), vload(max + row)));
}

/* Adds up what sum_of adds up, `part` being one place of its sums for each row. */
static inline void FN(add_parts)(double part[SUMS][SOFTMAX_ROWS], double *sum, int64_t rows) {
    for (int64_t row = 0; row < rows; row++) {
        double low = (part[0][row] + part[1][row]) + (part[2][row] + part[3][row]);
        sum[row] += low + ((part[4][row] + part[5][row]) + (part[6][row] + part[7][row]));
    }
}

static void FN(softmax_rows)(const void *from, int64_t x_step, void *to, int64_t y_step, int64_t n, int64_t rows) {
    const real *x = from;
    real *y = to, max[SOFTMAX_ROWS], kept[KEPT][SOFTMAX_ROWS];
    double sum[SOFTMAX_ROWS] = {0};
    memcpy(max, x, (size_t)rows * sizeof *max);
    for (int64_t i = 1; i < n; i++)
        for (int64_t row = 0; row < rows; row += VL)
            vstore(max + row, vmax_or_second(vload(x + i * x_step + row), vload(max + row)));
    for (int64_t begin = 0; begin < n; begin += CHUNK) {
        double part[SUMS][SOFTMAX_ROWS] = {{0}};
        for (int64_t i = begin; i < min_i64(n, begin + CHUNK); i++) {
            real *e = kept[i % KEPT];
            FN(exponentials_across)(x + i * x_step, max, e, rows);
            for (int64_t row = 0; row < rows; row++) part[i % SUMS][row] += (double)e[row];
        }
        FN(add_parts)(part, sum, rows);
    }
    for (int64_t i = 0; i < n; i++) {
        real *e = kept[i % KEPT];
        if (n > KEPT) FN(exponentials_across)(x + i * x_step, max, e, rows);
        for (int64_t row = 0; row < rows; row++) y[i * y_step + row] = e[row] / (real)sum[row];
    }
}

/* Adds up what softmax_backward adds up, part[i] being lane i of its sums. */
static inline void FN(add_lane_parts)(real part[VL][SOFTMAX_GRADIENT_ROWS], double *sum, int64_t rows) {
    for (int64_t row = 0; row < rows; row++) {
        double lane[VL];
        EACH (i, VL) lane[i] = (double)part[i][row];
        UNROLL for (int width = VL / 2; width > 0; width /= 2) EACH (i, width) lane[i] += lane[i + width];
        sum[row] += lane[0];
    }
}

static void FN(softmax_backward_rows)(const void *grad, int64_t g_step, const void *output, int64_t y_step, void *to,
                                      int64_t x_step, int64_t n, int64_t rows) {
    real all[SOFTMAX_GRADIENT_ROWS];
    double sum[SOFTMAX_GRADIENT_ROWS] = {0};
    for (int64_t i = 0; i < n;) {
        real part[VL][SOFTMAX_GRADIENT_ROWS] = {{0}};
        for (int64_t end = min_i64(n, i + SHORT_SUM * VL); i < end; i++) {
            const real *g = (const real *)grad + i * g_step, *y = (const real *)output + i * y_step;
            real *add = part[i % VL];
            for (int64_t row = 0; row < rows; row += SOFTMAX_VECTOR)
                EACH (v, SOFTMAX_VECTOR / VL) {
                    int64_t at = row + v * VL;
                    vstore(add + at, vfma(vload(g + at), vload(y + at), vload(add + at)));
                }
        }
        FN(add_lane_parts)(part, sum, rows);
    }
    for (int64_t row = 0; row < rows; row++) all[row] = (real)sum[row];
    for (int64_t i = 0; i < n; i++) {
        const real *g = (const real *)grad + i * g_step, *y = (const real *)output + i * y_step;
        real *x = (real *)to + i * x_step;
        for (int64_t row = 0; row < rows; row += SOFTMAX_VECTOR)
            EACH (v, SOFTMAX_VECTOR / VL) {
                int64_t at = row + v * VL;
                vstore(x + at, vmul(vload(y + at), vsub(vload(g + at), vload(all + at))));
            }
    }
}

/* loss = log(sum(e^x)) - x[target] */
static void FN(cross_entropy)(const void *from, int64_t step, int64_t n, int64_t target, void *loss) {
    const real *x = from;
    real max, e[CHUNK + VL];
    double sum = FN(sum_exponentials)(x, step, n, &max, e);
    *(real *)loss = (real)(log(sum) - ((double)x[target * step] - (double)max));
}

/* grad_x = (softmax(x) - onehot(target)) * grad */
static void FN(cross_entropy_backward)(const void *grad, const void *from, int64_t step, int64_t n, int64_t target, void *to,
                                       int64_t to_step) {
    const real *x = from;
    real *grad_x = to, max, e[CHUNK + VL];
    double sum = FN(sum_exponentials)(x, step, n, &max, e), scale = (double)*(const real *)grad;
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t count = min_i64(CHUNK, n - i);
        if (n > CHUNK) FN(exponentials)(x + i * step, step, max, e, count);
        for (int64_t k = 0; k < count; k++)
            grad_x[(i + k) * to_step] = (real)(((double)e[k] / sum - (i + k == target ? 1 : 0)) * scale);
    }
}
