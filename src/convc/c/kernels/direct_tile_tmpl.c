/* What direct convolutions read: a tile of the image, copied with its padding, so that no tap needs a mask. */

/* A tile of outputs, rows x cols from (oh, ow) on, and its input: (c, kd, in_rows, phases, line). */
typedef struct FN(tile_at) {
    const conv *c;
    const direct_tile *tile;
    const real *x; /* the group's image at depth od * step - pad */
    real *y; /* the group's outputs at depth od */
    int64_t od, oh, ow, rows, cols;
    real *in;
    int64_t channel, depth, down; /* from one to the next in the input */
} FN(tile_at);

/* Plane (n, group, od), before its tiles. */
static FN(tile_at) FN(tile_of_plane)(const conv *c, const direct_tile *tile, int64_t n, int64_t group, int64_t od, real *in) {
    FN(tile_at) t = {.c = c, .tile = tile, .od = od, .in = in, .down = tile->phases * tile->line};
    t.depth = tile->in_rows * t.down;
    t.channel = c->w.size[0] * t.depth;
    t.x = (const real *)c->x.data + n * c->x.stride_n + group * c->w.c * c->x.stride_c +
          (od * c->step[0] - c->pad[0]) * c->x.stride[0];
    t.y = (real *)c->y.data + n * c->y.stride_n + group * (c->y.c / c->groups) * c->y.stride_c + od * c->y.stride[0];
    return t;
}

/* As copy_phases does, for `channels` of them that lie side by side in memory; from one to the next it is `plane`. */
static void FN(turn_phases)(const FN(tile_at) * t, const real *src, int64_t first, int64_t channels, real *to, int64_t plane) {
    const conv *c = t->c;
    int64_t line = t->tile->line, step = c->step[2];
    for (int64_t phase = 0; phase < t->tile->phases; phase++, to += line) {
        int64_t before = -first - phase, lo = min_i64(FN(steps_past)(before, step), line);
        int64_t hi = max_i64(min_i64(FN(steps_past)(before + c->x.size[2], step), line), lo);
        FN(turn)(src + (phase + lo * step) * c->x.stride[2], step * c->x.stride[2], channels, hi - lo, to + lo, plane);
        for (int64_t channel = 0; channel < channels; channel++) {
            FN(zero_run)(to + channel * plane, lo);
            FN(zero_run)(to + channel * plane + hi, line - hi);
        }
    }
}

static void FN(copy_tile)(const FN(tile_at) * t) {
    const conv *c = t->c;
    int64_t first_column = t->ow * c->step[2] - c->pad[2], first_row = t->oh * c->step[1] - c->pad[1];
    int64_t in_rows = (t->rows - 1) * c->step[1] + (c->w.size[1] - 1) * c->dilation[1] + 1;
    int turned = c->x.stride_c == 1 && c->x.stride[2] != 1;
    int64_t together = turned ? VL : 1; /* channels */
    for (int64_t d = 0; d < c->w.size[0]; d++)
        for (int64_t channel = 0; channel < c->w.c; channel += together)
            for (int64_t i = 0; i < in_rows; i++) {
                int64_t h = first_row + i, depth = t->od * c->step[0] - c->pad[0] + d * c->dilation[0];
                int64_t channels = min_i64(together, c->w.c - channel);
                int inside = h >= 0 && h < c->x.size[1] && depth >= 0 && depth < c->x.size[0];
                const real *x = t->x + channel * c->x.stride_c + d * c->dilation[0] * c->x.stride[0] + h * c->x.stride[1] +
                                first_column * c->x.stride[2];
                real *to = t->in + channel * t->channel + d * t->depth + i * t->down;
                if (turned && inside) FN(turn_phases)(t, x, first_column, channels, to, t->channel);
                else
                    for (int64_t j = 0; j < channels; j++) {
                        int64_t extent = inside ? c->x.size[2] : 0, step = c->step[2], stride = c->x.stride[2];
                        real *row = to + j * t->channel;
                        if (step == 1) FN(copy_span)(row, x, first_column, t->tile->line, 0, extent, stride);
                        else FN(copy_phases)(x, stride, first_column, extent, step, t->tile->phases, row, t->tile->line);
                    }
            }
}
