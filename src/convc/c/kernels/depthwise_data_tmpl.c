/* The data gradient of depthwise convolution at step 2 along w. Even and odd pixels meet different taps: they are summed in vectors of
 * their own, and stored in turn. Sums run over (k, r, s). */

/* One channel of one image; grad_x is x and grad_y is y, as in the convolution itself. */
typedef struct FN(plane) {
    const conv *c;
    real *x;
    const real *y, *w; /* of the group's first output channel */
    int64_t h0, h1;
} FN(plane);

/* Pixels from .. from + 2 * VL of all rows. Tap s reaches those of parity (s + parity) % 2. */
static inline ALWAYS_INLINE void FN(scatter_columns)(const FN(plane) * t, int64_t from, const int taps, const int parity) {
    const conv *c = t->c;
    int64_t outs = c->y.c / c->groups, offset[7], left = c->x.size[2] - from;
    vmask mask[7];
    EACH (s, taps) {
        offset[s] = (from + (s + parity) % 2 + c->pad[2] - s) / 2; /* even: no rounding */
        mask[s] = vlanes((int)max_i64(-offset[s], 0), (int)max_i64(min_i64(c->y.size[2] - offset[s], VL), 0));
    }
    for (int64_t h = t->h0; h < t->h1; h++) {
        int64_t newest = (h + c->pad[1]) / c->step[1], late = max_i64(newest - c->y.size[1] + 1, 0);
        int64_t r0 = (h + c->pad[1]) % c->step[1] + late * c->step[1]; /* the first row of taps that an output brings here */
        vec sum[2] = {vzero(), vzero()};
        for (int64_t k = 0; k < outs; k++)
            for (int64_t r = r0, oh = newest - late; r < c->w.size[1] && oh >= 0; r += c->step[1], oh--) {
                const real *y = t->y + k * c->y.stride_c + oh * c->y.stride[1];
                const real *w = t->w + k * c->w.stride_n + r * c->w.stride[1];
                EACH (s, taps)
                    sum[(s + parity) % 2] =
                        vfma(vset1(w[s * c->w.stride[2]]), vload_masked(y + offset[s], mask[s]), sum[(s + parity) % 2]);
            }
        real *x = t->x + h * c->x.stride[1] + from;
        vstore_step(x, 1, vzip_low(sum[0], sum[1]), (int)min_i64(VL, left));
        if (left > VL) vstore_step(x + VL, 1, vzip_high(sum[0], sum[1]), (int)min_i64(VL, left - VL));
    }
}

#define SCATTER_CASE(taps, parity) \
    case taps * 2 + parity: FN(scatter_columns)(&t, from, taps, parity); break;

/* Rows h0..h1 of channel (n, group, d). */
static void FN(depthwise_data)(const conv *c, int64_t channel, int64_t h0, int64_t h1) {
    int64_t d = channel % c->x.size[0], group = channel / c->x.size[0] % c->groups, n = channel / c->x.size[0] / c->groups;
    FN(plane) t = {.c = c, .w = (const real *)c->w.data + group * c->w_group, .h0 = h0, .h1 = h1};
    t.x = (real *)c->x.data + n * c->x.stride_n + group * c->x.stride_c + d * c->x.stride[0];
    t.y = (const real *)c->y.data + n * c->y.stride_n + group * (c->y.c / c->groups) * c->y.stride_c + d * c->y.stride[0];
    for (int64_t from = 0; from < c->x.size[2]; from += 2 * VL) switch (c->w.size[2] * 2 + c->pad[2] % 2) {
            SCATTER_CASE(3, 0)
            SCATTER_CASE(3, 1)
            SCATTER_CASE(5, 0)
            SCATTER_CASE(5, 1)
            SCATTER_CASE(7, 0)
            SCATTER_CASE(7, 1)
        default: break;
        }
}
