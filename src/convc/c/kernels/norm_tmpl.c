/* Normalisation: sums over blocks of pixels, and maps of them. Vectors run along the pixels of a channel, or across the channels of
 * a pixel, whichever is contiguous; other blocks go through buffers. */

#undef NORM_PIXELS
#undef NORM_FIRST
#undef NORM_CHUNK
#define NORM_PIXELS 2048 /* that are summed around one number */
#define NORM_FIRST 256 /* whose mean is the first such number */
#define NORM_CHUNK 512 /* in a buffer */

/* The first n elements, or a whole vector of them. */
static inline vec FN(load_left)(const real *p, int64_t n) { return n >= VL ? vload(p) : vload_masked(p, vlanes(0, (int)n)); }

static inline void FN(store_left)(real *p, vec v, int64_t n) { vstore_first(p, v, (int)min_i64(n, VL)); }

/* ---- sums: of g and of g * (x - center); where g is NULL it is x - center itself ---- */

static inline double FN(total)(vec v) {
    double sums[VL] = {0};
    FN(add_lanes)(sums, v, VL);
    for (int width = VL / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) sums[i] += sums[i + width];
    return sums[0];
}

/* n contiguous elements */
static inline ALWAYS_INLINE void FN(pair_along)(const real *x, const real *g, int64_t n, real center, double *sum,
                                                double *product) {
    vec middle = vset1(center);
    while (n > 0) {
        vec s[SUM_GROUP], p[SUM_GROUP];
        EACH (v, SUM_GROUP) s[v] = p[v] = vzero();
        for (int k = 0; k < SHORT && n >= SUM_GROUP * VL; k++, n -= SUM_GROUP * VL) {
            EACH (v, SUM_GROUP) {
                vec d = vsub(vload(x + v * VL), middle), by = g ? vload(g + v * VL) : d;
                s[v] = vadd(s[v], by);
                p[v] = vfma(by, d, p[v]);
            }
            x += SUM_GROUP * VL;
            if (g) g += SUM_GROUP * VL;
        }
        for (; n > 0 && n < SUM_GROUP * VL; n -= min_i64(n, VL), x += VL) {
            vec d = vsub(FN(load_left)(x, n), middle);
            if (n < VL) d = vselect(vlanes(0, (int)n), d, vzero());
            vec by = g ? FN(load_left)(g, n) : d;
            s[0] = vadd(s[0], by);
            p[0] = vfma(by, d, p[0]);
            if (g) g += VL;
        }
        *sum += FN(total)(vadd(vadd(s[0], s[1]), vadd(s[2], s[3])));
        *product += FN(total)(vadd(vadd(p[0], p[1]), vadd(p[2], p[3])));
    }
}

/* n pixels of `count` vectors of channels, or of the first `lanes` channels of one */
static inline ALWAYS_INLINE void FN(pair_across)(const real *x, int64_t x_step, const real *g, int64_t g_step, int64_t n,
                                                 const int count, int64_t lanes, const real *center, double *sums,
                                                 double *products) {
    vec middle[SUM_GROUP];
    EACH (v, count) middle[v] = FN(load_left)(center + v * VL, lanes);
    for (int64_t i = 0; i < n; i += SHORT) {
        vec s[SUM_GROUP], p[SUM_GROUP];
        EACH (v, count) s[v] = p[v] = vzero();
        for (int64_t k = min_i64(SHORT, n - i); k > 0; k--, x += x_step) {
            EACH (v, count) {
                vec d = vsub(FN(load_left)(x + v * VL, lanes), middle[v]), by = g ? FN(load_left)(g + v * VL, lanes) : d;
                s[v] = vadd(s[v], by);
                p[v] = vfma(by, d, p[v]);
            }
            if (g) g += g_step;
        }
        EACH (v, count) {
            FN(add_lanes)(sums + v * VL, s[v], lanes);
            FN(add_lanes)(products + v * VL, p[v], lanes);
        }
    }
}

/* Blocks that are contiguous neither way: a channel at a time, gathered and, for a map, scattered again. */
typedef void (*FN(norm_kernel))(const norm_block *b, const void *coefs, int64_t ld, void *sums);

static void FN(through_buffers)(FN(norm_kernel) kernel, const norm_block *b, const real *coefs, int64_t ld, void *sums,
                                int64_t sums_step, int written) {
    real buffer[3][NORM_CHUNK];
    for (int64_t c = 0; c < b->channels; c++)
        for (int64_t i = 0; i < b->n; i += NORM_CHUNK) {
            norm_block part = {.step = {1, 1, 1}, .n = min_i64(NORM_CHUNK, b->n - i), .channels = 1};
            for (int t = 0; t < 3; t++) {
                if (!b->data[t]) continue;
                part.data[t] = buffer[t];
                const real *from = (const real *)b->data[t] + c * b->stride_c[t] + i * b->step[t];
                for (int64_t k = 0; k < part.n && t != written; k++) buffer[t][k] = from[k * b->step[t]];
            }
            kernel(&part, coefs ? coefs + c : NULL, ld, (char *)sums + c * sums_step);
            if (written < 0) continue;
            real *to = (real *)b->data[written] + c * b->stride_c[written] + i * b->step[written];
            for (int64_t k = 0; k < part.n; k++) to[k * b->step[written]] = buffer[written][k];
        }
}

static inline int FN(is_across)(const norm_block *b) {
    for (int t = 0; t < 3; t++)
        if (b->data[t] && b->stride_c[t] != 1) return 0;
    return b->channels > 1;
}

static inline int FN(is_along)(const norm_block *b) {
    for (int t = 0; t < 3; t++)
        if (b->data[t] && b->n > 1 && b->step[t] != 1) return 0;
    return 1;
}

/* ---- moments. Sums of squares lose digits the further the numbers lie from where they are summed around. That is the mean of what
 * was seen before, so the loss is in proportion to a spread that is really there. ---- */

/* n pixels, `step` apart, in double: squares of floats beyond 1e19, and sums of larger ones, do not fit in a float.
 * The mean of what has an infinity in it is infinite, or NaN if it has both, as in PyTorch, and the variance NaN. */
static void FN(moments_wide)(const real *x, int64_t step, int64_t n, moments *m) {
    double center = isfinite(x[0]) ? (double)x[0] : 0, sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)x[i * step] - center;
        sum += d;
        squares += d * d;
    }
    sum /= (double)n;
    moments_add(m, (double)n, center + sum, squares - sum * sum * (double)n);
}

static void FN(moments_along)(const real *x, int64_t n, moments *m) {
    for (int64_t i = 0; i < n; i += NORM_PIXELS) {
        int64_t count = min_i64(NORM_PIXELS, n - i);
        real center = m->count > 0 ? (real)m->mean : n > NORM_FIRST ? (real)(FN(sum_along)(x, NORM_FIRST) / NORM_FIRST) : x[0];
        double sum = 0, squares = 0;
        FN(pair_along)(x + i, NULL, count, center, &sum, &squares);
        sum /= (double)count;
        if (isfinite(sum) && isfinite(squares))
            moments_add(m, (double)count, (double)center + sum, squares - sum * sum * (double)count);
        else FN(moments_wide)(x + i, 1, count, m);
    }
}

static inline ALWAYS_INLINE void FN(moments_across)(const real *x, int64_t step, int64_t n, const int count, int64_t lanes,
                                                    moments *m) {
    int64_t channels = lanes + (count - 1) * VL;
    for (int64_t i = 0; i < n; i += NORM_PIXELS) {
        int64_t pixels = min_i64(NORM_PIXELS, n - i), first = n > NORM_FIRST ? NORM_FIRST : 1;
        double sums[SUM_GROUP * VL] = {0}, squares[SUM_GROUP * VL] = {0};
        real center[SUM_GROUP * VL] = {0};
        if (m->count == 0) FN(sum_across)(x, step, first, count, lanes, sums);
        for (int64_t c = 0; c < channels; c++) {
            center[c] = (real)(m[c].count > 0 ? m[c].mean : sums[c] / (double)first);
            sums[c] = 0;
        }
        FN(pair_across)(x + i * step, step, NULL, 0, pixels, count, lanes, center, sums, squares);
        for (int64_t c = 0; c < channels; c++) {
            double sum = sums[c] / (double)pixels;
            if (isfinite(sum) && isfinite(squares[c]))
                moments_add(&m[c], (double)pixels, (double)center[c] + sum, squares[c] - sum * sum * (double)pixels);
            else FN(moments_wide)(x + i * step + c, step, pixels, &m[c]);
        }
    }
}

/* moments[c] take in the pixels of channel c of tensor 0 */
static void FN(norm_moments)(const norm_block *b, const void *coefs, int64_t ld, void *sums) {
    moments *m = sums;
    const real *x = b->data[0];
    int64_t c = 0, step = b->step[0];
    if (FN(is_across)(b)) {
        for (; c + SUM_GROUP * VL <= b->channels; c += SUM_GROUP * VL)
            FN(moments_across)(x + c, step, b->n, SUM_GROUP, VL, m + c);
        for (; c < b->channels; c += VL) FN(moments_across)(x + c, step, b->n, 1, min_i64(VL, b->channels - c), m + c);
    } else if (FN(is_along)(b))
        for (; c < b->channels; c++) FN(moments_along)(x + c * b->stride_c[0], b->n, m + c);
    else FN(through_buffers)(FN(norm_moments), b, coefs, ld, sums, sizeof *m, -1);
}

/* sums[2 c] and sums[2 c + 1] += the sums of g and of g * (x - coefs[c]); tensors x, g */
static void FN(norm_sums)(const norm_block *b, const void *coefs, int64_t ld, void *to) {
    double *sums = to;
    const real *x = b->data[0], *g = b->data[1], *center = coefs;
    int64_t c = 0;
    if (FN(is_across)(b)) {
        for (; c < b->channels;) {
            double each[2][SUM_GROUP * VL] = {{0}};
            int64_t channels = min_i64(b->channels - c, VL);
            if (b->channels - c >= SUM_GROUP * VL) {
                channels = SUM_GROUP * VL;
                FN(pair_across)(x + c, b->step[0], g + c, b->step[1], b->n, SUM_GROUP, VL, center + c, each[0], each[1]);
            } else FN(pair_across)(x + c, b->step[0], g + c, b->step[1], b->n, 1, channels, center + c, each[0], each[1]);
            for (int64_t k = 0; k < channels; k++, c++) {
                sums[2 * c] += each[0][k];
                sums[2 * c + 1] += each[1][k];
            }
        }
    } else if (FN(is_along)(b))
        for (; c < b->channels; c++)
            FN(pair_along)(x + c * b->stride_c[0], g + c * b->stride_c[1], b->n, center[c], &sums[2 * c], &sums[2 * c + 1]);
    else FN(through_buffers)(FN(norm_sums), b, coefs, ld, sums, 2 * sizeof *sums, -1);
}

/* ---- maps: y = (x - coefs[0]) * coefs[1] + coefs[2] (+ g * coefs[3]), each a row of `ld` channels; tensors x, y, g or NULL ---- */

static inline ALWAYS_INLINE void FN(map_rows)(const norm_block *b, const real *coefs, int64_t ld, const int across,
                                              const int has_grad) {
    int64_t rows = across ? b->n : b->channels, length = across ? b->channels : b->n;
    const int64_t *step = across ? b->step : b->stride_c;
    for (int64_t r = 0; r < rows; r++) {
        const real *x = (const real *)b->data[0] + r * step[0], *g = has_grad ? (const real *)b->data[2] + r * step[2] : NULL;
        real *y = (real *)b->data[1] + r * step[1];
        vec k[NORM_COEFS];
        EACH (j, NORM_COEFS) k[j] = across ? vzero() : vset1(coefs[j * ld + r]);
        for (int64_t i = 0; i < length; i += VL) {
            int64_t left = length - i;
            EACH (j, 3 + has_grad) k[j] = across ? FN(load_left)(coefs + j * ld + i, left) : k[j];
            vec v = vfma(vsub(FN(load_left)(x + i, left), k[0]), k[1], k[2]);
            if (has_grad) v = vfma(FN(load_left)(g + i, left), k[3], v);
            FN(store_left)(y + i, v, left);
        }
    }
}

static void FN(norm_map)(const norm_block *b, const void *coefs, int64_t ld, void *sums) {
    int across = FN(is_across)(b);
    if (!across && !FN(is_along)(b)) FN(through_buffers)(FN(norm_map), b, coefs, ld, sums, 0, 1);
    else if (across && b->data[2]) FN(map_rows)(b, coefs, ld, 1, 1);
    else if (across) FN(map_rows)(b, coefs, ld, 1, 0);
    else if (b->data[2]) FN(map_rows)(b, coefs, ld, 0, 1);
    else FN(map_rows)(b, coefs, ld, 0, 0);
}

/* ---- rows of n contiguous elements, each with its own mean; weight and bias, or NULL, go along the row ---- */

static void FN(layer_norm)(const void *from, int64_t n, const void *weight, const void *bias, double eps, void *to, double *mean,
                           double *inv_std) {
    const real *x = from, *w = weight, *b = bias;
    real *y = to;
    moments m = {0};
    FN(moments_along)(x, n, &m);
    *mean = m.mean;
    *inv_std = 1 / sqrt((m.m2 < 0 ? 0 : m.m2) / m.count + eps);
    real center = (real)m.mean;
    vec middle = vset1(center), scale = vset1((real)*inv_std), shift = vset1((real)(((double)center - m.mean) * *inv_std));
    for (int64_t i = 0; i < n; i += VL) {
        vec v = vfma(vsub(FN(load_left)(x + i, n - i), middle), scale, shift);
        if (w) v = vmul(v, FN(load_left)(w + i, n - i));
        if (b) v = vadd(v, FN(load_left)(b + i, n - i));
        FN(store_left)(y + i, v, n - i);
    }
}

/* grad_x, and sums[i] += g, sums[n + i] += g * (x - mean) * inv_std; scratch is a row, `to` or sums may be NULL */
static void FN(layer_norm_backward)(const void *grad, const void *from, int64_t n, const void *weight, double mean,
                                    double inv_std, void *to, void *all_sums, void *scratch) {
    const real *g = grad, *x = from, *w = weight;
    real *sums = all_sums, *weighted = scratch, center = (real)mean;
    double off = ((double)center - mean) * inv_std, sum = 0, product = 0;
    vec middle = vset1(center), scale = vset1((real)inv_std), shift = vset1((real)off);
    for (int64_t i = 0; i < n; i += VL) {
        vec v = FN(load_left)(g + i, n - i);
        if (w) FN(store_left)(weighted + i, vmul(v, FN(load_left)(w + i, n - i)), n - i);
        if (!sums) continue;
        vec normal = vfma(vsub(FN(load_left)(x + i, n - i), middle), scale, shift);
        FN(store_left)(sums + i, vadd(FN(load_left)(sums + i, n - i), v), n - i);
        FN(store_left)(sums + n + i, vfma(v, normal, FN(load_left)(sums + n + i, n - i)), n - i);
    }
    if (!to) return;
    if (w) g = weighted;
    FN(pair_along)(x, g, n, center, &sum, &product);
    product = (product * inv_std + off * sum) / (double)n;
    real coefs[NORM_COEFS] = {center, (real)(-inv_std * inv_std * product), (real)(-inv_std * (sum / (double)n + off * product)),
                              (real)inv_std};
    norm_block b = {.data = {(void *)x, to, (void *)g}, .step = {1, 1, 1}, .n = n, .channels = 1};
    FN(norm_map)(&b, coefs, 1, NULL);
}
