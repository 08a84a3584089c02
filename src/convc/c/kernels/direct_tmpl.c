/* Direct convolution for groups of few channels, depthwise above all, where a matrix product would leave most of its register block
 * empty. Sums run over (c, kd, r, s) in this order; padding is left out by masks and shortened loops. */

#undef DIRECT_OUTS
#undef DIRECT_NV
#define DIRECT_OUTS 4 /* output channels of a group at once */
#if defined(VEC_AVX512)
#define DIRECT_NV 4
#else
#define DIRECT_NV 2
#endif

#define DIRECT_TAPS 16 /* the widest kernel along w */

/* Taps first..last of dimension i meet the image at output position o. */
static inline void FN(tap_range)(const conv *c, int i, int64_t o, int64_t *first, int64_t *last) {
    int64_t shift = c->pad[i] - o * c->step[i];
    *first = 0;
    *last = c->w.size[i];
    if (shift <= 0 && shift + c->x.size[i] > (c->w.size[i] - 1) * c->dilation[i]) return;
    if (shift > 0) *first = ceil_div(shift, c->dilation[i]);
    *last = shift + c->x.size[i] <= 0 ? 0 : min_i64(c->w.size[i], ceil_div(shift + c->x.size[i], c->dilation[i]));
}

/* ---- vectors along w: x is contiguous there, the step is 1 or 2 ---- */

/* DIRECT_NV vectors of outputs from ow = j on, in every row of a task. */
typedef struct FN(strip) {
    const conv *c;
    const real *x, *w, *bias; /* the group's image at coordinate (0, 0, -pad); the weights of the first output channel */
    real *y; /* row oh = 0 */
    int64_t j, w_stride, first_d, last_d;
    int inside; /* no tap of any output leaves the row: masks are not needed */
    vspan span[DIRECT_TAPS][DIRECT_NV];
} FN(strip);

/* Which lanes of output vector v exist at tap s: l * step lies from `before` to `past`. */
static void FN(mask_strip)(FN(strip) * t, const int nv) {
    const conv *c = t->c;
    int64_t reach = (c->w.size[2] - 1) * c->dilation[2], step = c->step[2];
    t->inside = t->j * step >= c->pad[2] && t->j + nv * VL <= c->y.size[2] &&
                (t->j + nv * VL - 1) * step + reach - c->pad[2] < c->x.size[2];
    for (int64_t s = 0; s < c->w.size[2]; s++)
        for (int v = 0; v < nv; v++) {
            int64_t before = c->pad[2] - (t->j + v * VL) * step - s * c->dilation[2], past = before + c->x.size[2];
            int64_t lo = before <= 0 ? 0 : ceil_div(before, step), hi = past <= 0 ? 0 : ceil_div(past, step);
            t->span[s][v] = vspan_of(step, (int)min_i64(lo, VL), (int)min_i64(hi, VL));
        }
}

static inline ALWAYS_INLINE void FN(store_outputs)(const FN(strip) * t, vec acc[DIRECT_OUTS][DIRECT_NV], real *y, const int outs,
                                                   const int nv) {
    const conv *c = t->c;
    EACH (k, outs)
        EACH (v, nv) {
            int64_t left = c->y.size[2] - t->j - v * VL;
            vec sum = t->bias ? vadd(acc[k][v], vset1(t->bias[k])) : acc[k][v];
            if (c->activation == CONVC_RELU) sum = vmax_or_second(vzero(), sum);
            if (left > 0)
                vstore_step(y + k * c->y.stride_c + v * VL * c->y.stride[2], c->y.stride[2], sum, (int)min_i64(left, VL));
        }
}

static inline ALWAYS_INLINE void FN(outputs)(const FN(strip) * t, int64_t oh, const int outs, const int nv, const int64_t step,
                                             const int inside) {
    const conv *c = t->c;
    int64_t first, last;
    vec acc[DIRECT_OUTS][DIRECT_NV];
    FN(tap_range)(c, 1, oh, &first, &last);
    EACH (k, outs)
        EACH (v, nv) acc[k][v] = vzero();
    const real *x = t->x + (oh * c->step[1] - c->pad[1]) * c->x.stride[1] + t->j * step;
    for (int64_t channel = 0; channel < c->w.c; channel++)
        for (int64_t d = t->first_d; d < t->last_d; d++)
            for (int64_t r = first; r < last; r++) {
                const real *row =
                    x + channel * c->x.stride_c + d * c->dilation[0] * c->x.stride[0] + r * c->dilation[1] * c->x.stride[1];
                const real *w = t->w + ((channel * c->w.size[0] + d) * c->w.size[1] + r) * c->w.size[2];
                for (int64_t s = 0; s < c->w.size[2]; s++, row += c->dilation[2]) {
                    vec in[DIRECT_NV];
                    EACH (v, nv)
                        in[v] =
                            inside ? vload_step(row + v * VL * step, step) : vload_span(row + v * VL * step, step, t->span[s][v]);
                    EACH (k, outs) {
                        vec wk = vset1(w[k * t->w_stride + s]);
                        EACH (v, nv) acc[k][v] = vfma(wk, in[v], acc[k][v]);
                    }
                }
            }
    FN(store_outputs)(t, acc, t->y + oh * c->y.stride[1] + t->j * c->y.stride[2], outs, nv);
}

static inline ALWAYS_INLINE void FN(strip_rows)(FN(strip) * t, int64_t oh0, int64_t oh1, const int outs, const int nv) {
    FN(mask_strip)(t, nv);
    for (int64_t oh = oh0; oh < oh1; oh++) {
        if (t->c->step[2] == 1) t->inside ? FN(outputs)(t, oh, outs, nv, 1, 1) : FN(outputs)(t, oh, outs, nv, 1, 0);
        else t->inside ? FN(outputs)(t, oh, outs, nv, 2, 1) : FN(outputs)(t, oh, outs, nv, 2, 0);
    }
}

#define DIRECT_CASE(outs)                                   \
    case outs:                                              \
        if (nv == 1) FN(strip_rows)(&t, oh0, oh1, outs, 1); \
        else FN(strip_rows)(&t, oh0, oh1, outs, DIRECT_NV); \
        break;

/* Rows oh0..oh1 of plane (n, group, od), all the group's output channels. */
static void FN(direct_rows)(const conv *c, const void *packed, int64_t plane, int64_t oh0, int64_t oh1) {
    int64_t od = plane % c->y.size[0], group = plane / c->y.size[0] % c->groups, n = plane / c->y.size[0] / c->groups;
    int64_t k = c->y.c / c->groups, taps = c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2];
    FN(strip) t = {.c = c, .w_stride = taps};
    t.x = (const real *)c->x.data + n * c->x.stride_n + group * c->w.c * c->x.stride_c +
          (od * c->step[0] - c->pad[0]) * c->x.stride[0] - c->pad[2];
    FN(tap_range)(c, 0, od, &t.first_d, &t.last_d);
    for (int64_t k0 = 0; k0 < k; k0 += DIRECT_OUTS) {
        t.w = (const real *)packed + (group * k + k0) * taps;
        t.y = (real *)c->y.data + n * c->y.stride_n + (group * k + k0) * c->y.stride_c + od * c->y.stride[0];
        t.bias = c->bias ? (const real *)c->bias + group * k + k0 : NULL;
        for (int nv = 0; t.j < c->y.size[2]; t.j += nv * VL) {
            nv = t.j + (DIRECT_NV - 1) * VL < c->y.size[2] ? DIRECT_NV : 1;
            switch (min_i64(DIRECT_OUTS, k - k0)) {
                DIRECT_CASE(1)
                DIRECT_CASE(2)
                DIRECT_CASE(3)
            default: DIRECT_CASE(4)
            }
        }
        t.j = 0;
    }
}

/* ---- depthwise with vectors along the channels: x and y are contiguous there; packed weights are (taps, channels) ---- */

static inline ALWAYS_INLINE void FN(pixel)(const conv *c, const real *w, const real *x, real *y, const int64_t first[3],
                                           const int64_t last[3], int64_t channel, const int nv, vmask tail) {
    vec acc[DIRECT_NV];
    EACH (v, nv) acc[v] = vzero();
    for (int64_t d = first[0]; d < last[0]; d++)
        for (int64_t r = first[1]; r < last[1]; r++)
            for (int64_t s = first[2]; s < last[2]; s++) {
                const real *ws = w + ((d * c->w.size[1] + r) * c->w.size[2] + s) * c->groups + channel;
                const real *xs = x + d * c->dilation[0] * c->x.stride[0] + r * c->dilation[1] * c->x.stride[1] +
                                 s * c->dilation[2] * c->x.stride[2] + channel;
                if (nv == 1) acc[0] = vfma(vload_masked(ws, tail), vload_masked(xs, tail), acc[0]);
                else
                    EACH (v, nv) acc[v] = vfma(vload(ws + v * VL), vload(xs + v * VL), acc[v]);
            }
    const real *bias = c->bias ? (const real *)c->bias + channel : NULL;
    EACH (v, nv) {
        if (bias) acc[v] = vadd(acc[v], nv == 1 ? vload_masked(bias, tail) : vload(bias + v * VL));
        if (c->activation == CONVC_RELU) acc[v] = vmax_or_second(vzero(), acc[v]);
        if (nv == 1) vstore_masked(y + channel, acc[v], tail);
        else vstore(y + channel + v * VL, acc[v]);
    }
}

static void FN(depthwise_row)(const conv *c, const void *packed, int64_t n, int64_t od, int64_t oh) {
    int64_t first[3], last[3];
    FN(tap_range)(c, 0, od, &first[0], &last[0]);
    FN(tap_range)(c, 1, oh, &first[1], &last[1]);
    for (int64_t ow = 0; ow < c->y.size[2]; ow++) {
        const real *x = (const real *)c->x.data + n * c->x.stride_n + (od * c->step[0] - c->pad[0]) * c->x.stride[0] +
                        (oh * c->step[1] - c->pad[1]) * c->x.stride[1] + (ow * c->step[2] - c->pad[2]) * c->x.stride[2];
        real *y = (real *)c->y.data + n * c->y.stride_n + od * c->y.stride[0] + oh * c->y.stride[1] + ow * c->y.stride[2];
        int64_t channel = 0;
        FN(tap_range)(c, 2, ow, &first[2], &last[2]);
        if (DIRECT_NV > 1)
            for (; channel + DIRECT_NV * VL <= c->groups; channel += DIRECT_NV * VL)
                FN(pixel)(c, packed, x, y, first, last, channel, DIRECT_NV, vlanes(0, VL));
        for (; channel < c->groups; channel += VL)
            FN(pixel)(c, packed, x, y, first, last, channel, 1, vlanes(0, (int)min_i64(VL, c->groups - channel)));
    }
}

/* Rows oh0..oh1 of plane (n, od), all channels. */
static void FN(depthwise_rows)(const conv *c, const void *packed, int64_t plane, int64_t oh0, int64_t oh1) {
    for (int64_t oh = oh0; oh < oh1; oh++) FN(depthwise_row)(c, packed, plane / c->y.size[0], plane % c->y.size[0], oh);
}

/* ---- weights: (k, c, kd, r, s) in a row, or for depthwise_row the transpose ---- */

static void FN(direct_pack)(const conv *c, int channels_last, void *packed) {
    int64_t taps = c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2], k = c->y.c / c->groups;
    for (int64_t out = 0; out < c->y.c; out++)
        for (int64_t t = 0; t < taps; t++) {
            int64_t s = t % c->w.size[2], r = t / c->w.size[2] % c->w.size[1], rest = t / c->w.size[2] / c->w.size[1];
            const real *w = (const real *)c->w.data + out / k * c->w_group + out % k * c->w.stride_n +
                            rest / c->w.size[0] * c->w.stride_c + rest % c->w.size[0] * c->w.stride[0] + r * c->w.stride[1] +
                            s * c->w.stride[2];
            ((real *)packed)[channels_last ? t * c->y.c + out : out * taps + t] = *w;
        }
}
