/* Local response normalisation of a block of pixels, whose rows of channels are gathered first: plain loops over the pixels, which
 * compilers vectorise. */

#undef LRN_PIXELS
#define LRN_PIXELS 32

static void FN(lrn_gather)(const lrn_block *b, int t, real *to) {
    const real *from = b->data[t];
    for (int64_t c = 0; c < b->channels; c++)
        for (int64_t i = 0; i < b->n; i++) to[c * LRN_PIXELS + i] = from[c * b->stride_c[t] + i * b->step[t]];
}

static void FN(lrn_store)(const lrn_block *b, int64_t c, const real *row) {
    real *to = (real *)b->data[1] + c * b->stride_c[1];
    for (int64_t i = 0; i < b->n; i++) to[i * b->step[1]] = row[i];
}

/* sums[i] = the sum of rows first..end of a * b */
static inline void FN(lrn_window)(const real *a, const real *b, int64_t first, int64_t end, int64_t n, real *sums) {
    for (int64_t i = 0; i < n; i++) sums[i] = 0;
    for (int64_t c = first; c < end; c++)
        for (int64_t i = 0; i < n; i++) sums[i] += a[c * LRN_PIXELS + i] * b[c * LRN_PIXELS + i];
}

/* power[i] = s[i]^-beta; the exponent of the paper needs no logarithm */
static inline void FN(lrn_power)(const real *s, int64_t n, double beta, real *power) {
    if (beta == 0.75)
        for (int64_t i = 0; i < n; i++) power[i] = (real)(1 / (sqrt((double)s[i]) * sqrt(sqrt((double)s[i]))));
    else
        for (int64_t i = 0; i < n; i++) power[i] = (real)pow((double)s[i], -beta);
}

/* s = k + scale * the sum of the squares in the window of channel c */
static inline void FN(lrn_scale)(const lrn_block *b, const real *x, int64_t c, real *s) {
    int64_t n = b->n;
    FN(lrn_window)(x, x, max_i64(0, c - b->before), min_i64(b->channels, c + b->after + 1), n, s);
    for (int64_t i = 0; i < n; i++) s[i] = (real)b->k + (real)b->scale * s[i];
}

/* y = x * s^-beta; the workspace holds a block */
static void FN(lrn)(const lrn_block *b, void *workspace) {
    int64_t n = b->n;
    real *x = workspace, s[LRN_PIXELS], power[LRN_PIXELS];
    FN(lrn_gather)(b, 0, x);
    for (int64_t c = 0; c < b->channels; c++) {
        FN(lrn_scale)(b, x, c, s);
        FN(lrn_power)(s, n, b->beta, power);
        for (int64_t i = 0; i < n; i++) power[i] *= x[c * LRN_PIXELS + i];
        FN(lrn_store)(b, c, power);
    }
}

/* grad_x = g * s^-beta - 2 * scale * beta * x * the sum of g * x * s^(-beta - 1) over the windows that x is in; the workspace holds
 * four blocks */
static void FN(lrn_backward)(const lrn_block *b, void *workspace) {
    int64_t n = b->n, size = b->channels * LRN_PIXELS;
    real *x = workspace, *g = x + size, *power = g + size, *falling = power + size, s[LRN_PIXELS];
    FN(lrn_gather)(b, 0, x);
    FN(lrn_gather)(b, 2, g);
    for (int64_t c = 0; c < b->channels; c++) {
        int64_t row = c * LRN_PIXELS;
        FN(lrn_scale)(b, x, c, s);
        FN(lrn_power)(s, n, b->beta, power + row);
        for (int64_t i = 0; i < n; i++) falling[row + i] = g[row + i] * power[row + i] / s[i];
    }
    real factor = (real)(2 * b->scale * b->beta);
    for (int64_t c = 0; c < b->channels; c++) {
        int64_t row = c * LRN_PIXELS;
        /* The windows that channel c is in are mirrored. */
        FN(lrn_window)(falling, x, max_i64(0, c - b->after), min_i64(b->channels, c + b->before + 1), n, s);
        for (int64_t i = 0; i < n; i++) s[i] = g[row + i] * power[row + i] - factor * x[row + i] * s[i];
        FN(lrn_store)(b, c, s);
    }
}
