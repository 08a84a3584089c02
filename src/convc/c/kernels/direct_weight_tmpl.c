/* Gradients of the weights of few-channel groups: products of grad_y (here y) and x summed over all outputs, without packing. A task
 * is one row of taps of one input channel, or of a vector of channels; nobody else adds to its weights. Each image is summed apart
 * and then added, so that the rounding errors of large batches stay small. */

#undef WEIGHT_TAPS
#define WEIGHT_TAPS 3 /* of the row at once */

/* One row of taps: its place (d, r), its columns s .. s + WEIGHT_TAPS, and the outputs whose taps d and r meet the image. */
typedef struct FN(tap_row) {
    const conv *c;
    int64_t d, r, s, first[2], last[2];
} FN(tap_row);

/* Outputs first..last of dimension i meet the image at tap t. */
static inline void FN(outputs_meeting)(const conv *c, int i, int64_t t, int64_t *first, int64_t *last) {
    int64_t shift = c->pad[i] - t * c->dilation[i];
    *first = shift <= 0 ? 0 : min_i64(ceil_div(shift, c->step[i]), c->y.size[i]);
    *last = shift + c->x.size[i] <= 0 ? 0 : min_i64(ceil_div(shift + c->x.size[i], c->step[i]), c->y.size[i]);
}

static FN(tap_row) FN(tap_row_at)(const conv *c, int64_t row) {
    FN(tap_row) t = {.c = c, .d = row / c->w.size[1], .r = row % c->w.size[1]};
    FN(outputs_meeting)(c, 0, t.d, &t.first[0], &t.last[0]);
    FN(outputs_meeting)(c, 1, t.r, &t.first[1], &t.last[1]);
    return t;
}

/* Where tap (d, r, s) of output (n, od, oh, 0) lies in channel 0 of x. */
static inline const real *FN(x_under)(const FN(tap_row) * t, int64_t n, int64_t od, int64_t oh) {
    const conv *c = t->c;
    return (const real *)c->x.data + n * c->x.stride_n + (od * c->step[0] + t->d * c->dilation[0] - c->pad[0]) * c->x.stride[0] +
           (oh * c->step[1] + t->r * c->dilation[1] - c->pad[1]) * c->x.stride[1] +
           (t->s * c->dilation[2] - c->pad[2]) * c->x.stride[2];
}

static inline const real *FN(y_row)(const conv *c, int64_t n, int64_t od, int64_t oh) {
    return (const real *)c->y.data + n * c->y.stride_n + od * c->y.stride[0] + oh * c->y.stride[1];
}

static inline real *FN(weight_at)(const FN(tap_row) * t, int64_t k, int64_t c, int64_t s) {
    const volume *w = &t->c->w;
    return (real *)w->data + k * w->stride_n + c * w->stride_c + t->d * w->stride[0] + t->r * w->stride[1] + s * w->stride[2];
}

/* ---- vectors along w: x and y are contiguous there, the step is 1 or 2 ---- */

/* sum[k][s] += products of outputs j .. j + VL of every row of image n; x and y are offsets of the channels. */
static inline ALWAYS_INLINE void FN(sum_strip)(const FN(tap_row) * t, int64_t n, int64_t x_channel, int64_t y_channel, int64_t j,
                                               vec sum[DIRECT_OUTS][WEIGHT_TAPS], const int outs, const int taps,
                                               const int64_t step) {
    const conv *c = t->c;
    int lanes = (int)min_i64(VL, c->y.size[2] - j), inside = lanes == VL;
    vmask tail = vlanes(0, lanes);
    vspan span[WEIGHT_TAPS];
    EACH (s, taps) {
        int64_t first, last;
        FN(outputs_meeting)(c, 2, t->s + s, &first, &last);
        span[s] = vspan_of(step, (int)min_i64(max_i64(first - j, 0), VL), (int)min_i64(max_i64(last - j, 0), lanes));
        inside &= first <= j && last >= j + VL;
    }
    for (int64_t od = t->first[0]; od < t->last[0]; od++)
        for (int64_t oh = t->first[1]; oh < t->last[1]; oh++) {
            const real *x = FN(x_under)(t, n, od, oh) + x_channel + j * step, *y = FN(y_row)(c, n, od, oh) + y_channel + j;
            vec in[WEIGHT_TAPS];
            EACH (s, taps)
                in[s] = inside ? vload_step(x + s * c->dilation[2], step) : vload_span(x + s * c->dilation[2], step, span[s]);
            EACH (k, outs) {
                const real *yk = y + k * c->y.stride_c;
                vec grad = inside ? vload(yk) : vload_masked(yk, tail);
                EACH (s, taps) sum[k][s] = vfma(grad, in[s], sum[k][s]);
            }
        }
}

static inline ALWAYS_INLINE void FN(weight_block)(const FN(tap_row) * t, int64_t channel, int64_t k0, const int outs,
                                                  const int taps, const int64_t step) {
    const conv *c = t->c;
    int64_t group = channel / c->w.c, outs_all = c->y.c / c->groups;
    vec total[DIRECT_OUTS][WEIGHT_TAPS];
    EACH (k, outs)
        EACH (s, taps) total[k][s] = vzero();
    for (int64_t n = 0; n < c->x.n; n++) {
        vec sum[DIRECT_OUTS][WEIGHT_TAPS];
        EACH (k, outs)
            EACH (s, taps) sum[k][s] = vzero();
        for (int64_t j = 0; j < c->y.size[2]; j += VL)
            FN(sum_strip)(t, n, channel * c->x.stride_c, (group * outs_all + k0) * c->y.stride_c, j, sum, outs, taps, step);
        EACH (k, outs)
            EACH (s, taps) total[k][s] = vadd(total[k][s], sum[k][s]);
    }
    for (int k = 0; k < outs; k++)
        for (int s = 0; s < taps; s++) {
            real lane[VL];
            double weight = 0;
            vstore(lane, total[k][s]);
            for (int i = 0; i < VL; i++) weight += (double)lane[i];
            *FN(weight_at)(t, group * outs_all + k0 + k, channel % c->w.c, t->s + s) = (real)weight;
        }
}

/* clang-format off */
#define WEIGHT_CASE(outs, taps)                                              \
    case outs * (WEIGHT_TAPS + 1) + taps:                                    \
        if (c->step[2] == 1) FN(weight_block)(&t, channel, k0, outs, taps, 1); \
        else FN(weight_block)(&t, channel, k0, outs, taps, 2);               \
        break;
/* clang-format on */

/* Task (channel, d, r) of grad_w. */
static void FN(weight_rows)(const conv *c, int64_t task) {
    int64_t rows = c->w.size[0] * c->w.size[1], channel = task / rows, outs = c->y.c / c->groups;
    FN(tap_row) t = FN(tap_row_at)(c, task % rows);
    for (int64_t k0 = 0; k0 < outs; k0 += DIRECT_OUTS)
        for (t.s = 0; t.s < c->w.size[2]; t.s += WEIGHT_TAPS)
            switch (min_i64(DIRECT_OUTS, outs - k0) * (WEIGHT_TAPS + 1) + min_i64(WEIGHT_TAPS, c->w.size[2] - t.s)) {
                WEIGHT_CASE(1, 1)
                WEIGHT_CASE(1, 2)
                WEIGHT_CASE(1, 3)
                WEIGHT_CASE(2, 1)
                WEIGHT_CASE(2, 2)
                WEIGHT_CASE(2, 3)
                WEIGHT_CASE(3, 1)
                WEIGHT_CASE(3, 2)
                WEIGHT_CASE(3, 3)
                WEIGHT_CASE(4, 1)
                WEIGHT_CASE(4, 2)
            default: WEIGHT_CASE(4, 3)
            }
}

/* ---- depthwise with vectors along the channels: x and y are contiguous there ---- */

static inline ALWAYS_INLINE void FN(sum_pixels)(const FN(tap_row) * t, int64_t n, int64_t channel, vmask tail,
                                                vec sum[WEIGHT_TAPS], const int taps) {
    const conv *c = t->c;
    int64_t first[WEIGHT_TAPS], last[WEIGHT_TAPS], step = c->step[2] * c->x.stride[2], apart = c->dilation[2] * c->x.stride[2];
    int64_t enter = 0, leave = c->y.size[2];
    EACH (s, taps) {
        FN(outputs_meeting)(c, 2, t->s + s, &first[s], &last[s]);
        enter = max_i64(enter, first[s]);
        leave = min_i64(leave, last[s]);
    }
    for (int64_t od = t->first[0]; od < t->last[0]; od++)
        for (int64_t oh = t->first[1]; oh < t->last[1]; oh++) {
            const real *x = FN(x_under)(t, n, od, oh) + channel, *y = FN(y_row)(c, n, od, oh) + channel;
            for (int64_t ow = 0; ow < c->y.size[2]; ow++) {
                vec grad = vload_masked(y + ow * c->y.stride[2], tail);
                int all = ow >= enter && ow < leave;
                EACH (s, taps)
                    if (all || (ow >= first[s] && ow < last[s]))
                        sum[s] = vfma(grad, vload_masked(x + ow * step + s * apart, tail), sum[s]);
            }
        }
}

static inline ALWAYS_INLINE void FN(weight_vector)(const FN(tap_row) * t, int64_t channel, const int taps) {
    const conv *c = t->c;
    int64_t lanes = min_i64(VL, c->groups - channel);
    vec total[WEIGHT_TAPS];
    EACH (s, taps) total[s] = vzero();
    for (int64_t n = 0; n < c->x.n; n++) {
        vec sum[WEIGHT_TAPS];
        EACH (s, taps) sum[s] = vzero();
        FN(sum_pixels)(t, n, channel, vlanes(0, (int)lanes), sum, taps);
        EACH (s, taps) total[s] = vadd(total[s], sum[s]);
    }
    for (int s = 0; s < taps; s++) {
        real lane[VL];
        vstore(lane, total[s]);
        for (int64_t i = 0; i < lanes; i++) *FN(weight_at)(t, channel + i, 0, t->s + s) = lane[i];
    }
}

/* Task (vector of channels, d, r) of grad_w. */
static void FN(weight_channels)(const conv *c, int64_t task) {
    int64_t rows = c->w.size[0] * c->w.size[1], channel = task / rows * VL;
    FN(tap_row) t = FN(tap_row_at)(c, task % rows);
    for (t.s = 0; t.s < c->w.size[2]; t.s += WEIGHT_TAPS) switch (c->w.size[2] - t.s) {
        case 1: FN(weight_vector)(&t, channel, 1); break;
        case 2: FN(weight_vector)(&t, channel, 2); break;
        default: FN(weight_vector)(&t, channel, 3); break;
        }
}
