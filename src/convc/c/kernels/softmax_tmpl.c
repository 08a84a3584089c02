/* Softmax and cross-entropy: rows of n elements, computed in double whatever the dtype. The loops are plain C that compilers vectorise; the
 * sums run in a fixed order of eight, so that every ISA gives the same bits. */

#undef CHUNK
#undef SUMS
#define CHUNK 512 /* exponentials at a time */
#define SUMS 8

/* e^x for x <= 0 to about one ulp; 0 below -708, where doubles thin out; NaN stays. x = n ln 2 + r, and e^r is a Taylor sum. The last two
 * are chosen by masks of whole numbers: compilers make no vectors of a loop that seems to branch. */
static inline double FN(exp)(double x) {
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: the low bits of shift + n are n */
    double shifted = x * 1.4426950408889634 + shift, n = shifted - shift;
    double r = (x - n * 0x1.62e42fefap-1) - n * 0x1.cf79abc9e3b39p-40;
    double sum = 1.0 / 6227020800;
    sum = sum * r + 1.0 / 479001600;
    sum = sum * r + 1.0 / 39916800;
    sum = sum * r + 1.0 / 3628800;
    sum = sum * r + 1.0 / 362880;
    sum = sum * r + 1.0 / 40320;
    sum = sum * r + 1.0 / 5040;
    sum = sum * r + 1.0 / 720;
    sum = sum * r + 1.0 / 120;
    sum = sum * r + 1.0 / 24;
    sum = sum * r + 1.0 / 6;
    sum = sum * r + 0.5;
    sum = sum * r * r + r + 1;
    uint64_t power, bits, word;
    memcpy(&power, &shifted, sizeof power);
    memcpy(&bits, &sum, sizeof bits);
    memcpy(&word, &x, sizeof word);
    const int64_t limit = 0x4086200000000000, infinity = 0x7ff0000000000000; /* the bits of 708 */
    int64_t size = (int64_t)(word & INT64_MAX);
    bits += power << 52;
    bits &= ~(uint64_t)((limit - size) >> 63);
    bits |= word & (uint64_t)((infinity - size) >> 63);
    memcpy(&sum, &bits, sizeof sum);
    return sum;
}

/* out[i] = e^(x[i] - max), i < n <= CHUNK */
static void FN(exponentials)(const real *x, int64_t step, double max, double *out, int64_t n) {
    if (step == 1)
        for (int64_t i = 0; i < n; i++) out[i] = (double)x[i] - max;
    else
        for (int64_t i = 0; i < n; i++) out[i] = (double)x[i * step] - max;
    for (int64_t i = 0; i < n; i++) out[i] = FN(exp)(out[i]);
}

static double FN(sum_of)(const double *x, int64_t n) {
    double sum[SUMS] = {0};
    int64_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int k = 0; k < SUMS; k++) sum[k] += x[i + k];
    for (; i < n; i++) sum[i % SUMS] += x[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

/* The greatest of a row, and the sum of e^(x - max). NaN anywhere makes the sum NaN. The last chunk's exponentials stay in e. */
static double FN(sum_exponentials)(const real *x, int64_t step, int64_t n, double *max, double *e) {
    real greatest = x[0];
    for (int64_t i = 1; i < n; i++) greatest = x[i * step] > greatest ? x[i * step] : greatest;
    *max = (double)greatest;
    double sum = 0;
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
    real *y = to;
    double max, e[CHUNK], sum = FN(sum_exponentials)(x, x_step, n, &max, e);
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t count = min_i64(CHUNK, n - i);
        if (n > CHUNK) FN(exponentials)(x + i * x_step, x_step, max, e, count);
        for (int64_t k = 0; k < count; k++) y[(i + k) * y_step] = (real)(e[k] / sum);
    }
}

/* grad_x = y * (grad_y - sum(grad_y * y)) */
static void FN(softmax_backward)(const void *grad, int64_t g_step, const void *output, int64_t y_step, void *to, int64_t x_step,
                                 int64_t n) {
    const real *g = grad, *y = output;
    real *x = to;
    double product[CHUNK], sum = 0;
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t count = min_i64(CHUNK, n - i);
        for (int64_t k = 0; k < count; k++) product[k] = (double)g[(i + k) * g_step] * (double)y[(i + k) * y_step];
        sum += FN(sum_of)(product, count);
    }
    for (int64_t i = 0; i < n; i++) x[i * x_step] = (real)((double)y[i * y_step] * ((double)g[i * g_step] - sum));
}

/* ---- rows that lie side by side, as those of maps with the channels first do: each is summed as above ---- */

#undef KEPT
#define KEPT 256 /* elements of a row whose exponentials are kept */

/* e[row] = e^(x[row] - max[row]) */
static inline void FN(exponentials_across)(const real *x, const real *max, double *e) {
    for (int row = 0; row < SOFTMAX_ROWS; row++) e[row] = FN(exp)((double)x[row] - (double)max[row]);
}

/* Adds up what sum_of adds up, `part` being one place of its sums for each row. */
static inline void FN(add_parts)(double part[SUMS][SOFTMAX_ROWS], double *sum) {
    for (int row = 0; row < SOFTMAX_ROWS; row++) {
        double low = (part[0][row] + part[1][row]) + (part[2][row] + part[3][row]);
        sum[row] += low + ((part[4][row] + part[5][row]) + (part[6][row] + part[7][row]));
    }
}

static void FN(softmax_rows)(const void *from, int64_t x_step, void *to, int64_t y_step, int64_t n) {
    const real *x = from;
    real *y = to, max[SOFTMAX_ROWS];
    double kept[KEPT][SOFTMAX_ROWS], sum[SOFTMAX_ROWS] = {0};
    for (int row = 0; row < SOFTMAX_ROWS; row++) max[row] = x[row];
    for (int64_t i = 1; i < n; i++)
        for (int row = 0; row < SOFTMAX_ROWS; row++) max[row] = x[i * x_step + row] > max[row] ? x[i * x_step + row] : max[row];
    for (int64_t begin = 0; begin < n; begin += CHUNK) {
        double part[SUMS][SOFTMAX_ROWS] = {{0}};
        for (int64_t i = begin; i < min_i64(n, begin + CHUNK); i++) {
            double *e = kept[i % KEPT];
            FN(exponentials_across)(x + i * x_step, max, e);
            for (int row = 0; row < SOFTMAX_ROWS; row++) part[i % SUMS][row] += e[row];
        }
        FN(add_parts)(part, sum);
    }
    for (int64_t i = 0; i < n; i++) {
        double *e = kept[i % KEPT];
        if (n > KEPT) FN(exponentials_across)(x + i * x_step, max, e);
        for (int row = 0; row < SOFTMAX_ROWS; row++) y[i * y_step + row] = (real)(e[row] / sum[row]);
    }
}

static void FN(softmax_backward_rows)(const void *grad, int64_t g_step, const void *output, int64_t y_step, void *to,
                                      int64_t x_step, int64_t n) {
    const real *g = grad, *y = output;
    real *x = to;
    double sum[SOFTMAX_ROWS] = {0};
    for (int64_t begin = 0; begin < n; begin += CHUNK) {
        double part[SUMS][SOFTMAX_ROWS] = {{0}};
        for (int64_t i = begin; i < min_i64(n, begin + CHUNK); i++)
            for (int row = 0; row < SOFTMAX_ROWS; row++)
                part[i % SUMS][row] += (double)g[i * g_step + row] * (double)y[i * y_step + row];
        FN(add_parts)(part, sum);
    }
    for (int64_t i = 0; i < n; i++)
        for (int row = 0; row < SOFTMAX_ROWS; row++)
            x[i * x_step + row] = (real)((double)y[i * y_step + row] * ((double)g[i * g_step + row] - sum[row]));
}

/* loss = log(sum(e^x)) - x[target] */
static void FN(cross_entropy)(const void *from, int64_t step, int64_t n, int64_t target, void *loss) {
    const real *x = from;
    double max, e[CHUNK], sum = FN(sum_exponentials)(x, step, n, &max, e);
    *(real *)loss = (real)(log(sum) - ((double)x[target * step] - max));
}

/* grad_x = (softmax(x) - onehot(target)) * grad */
static void FN(cross_entropy_backward)(const void *grad, const void *from, int64_t step, int64_t n, int64_t target, void *to,
                                       int64_t to_step) {
    const real *x = from;
    real *grad_x = to;
    double max, e[CHUNK], sum = FN(sum_exponentials)(x, step, n, &max, e), scale = (double)*(const real *)grad;
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t count = min_i64(CHUNK, n - i);
        if (n > CHUNK) FN(exponentials)(x + i * step, step, max, e, count);
        for (int64_t k = 0; k < count; k++) e[k] /= sum;
        if (target >= i && target < i + count) e[target - i] -= 1;
        for (int64_t k = 0; k < count; k++) grad_x[(i + k) * to_step] = (real)(e[k] * scale);
    }
}
