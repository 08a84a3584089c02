/* Packing columns of few channels: one recipe for all taps, where pack_tmpl.c would build one for each tap to replay it for few rows.
 * What lies under a block of columns is first copied with its padding, the pixels of a row sorted by their place within the step.
 * There every tap finds its pixels side by side. */

#define PATCH_MOST 32768 /* elements */
#define PATCH_CHANNELS \
    16 /* of more, recipes of single taps serve enough rows, unless a step above 2 has them read element by element */
#define PATCH_REUSE 2 /* an element copied should be packed more often than this */

/* (plane, channel, kd, row, phase of the step, pixel); a plane is an (n, od). */
typedef struct FN(patch) {
    const matrix *a;
    int64_t plane, planes, channel, channels, row, rows, line; /* the first ones, and how many; row is an output's */
    int64_t plane_step, channel_step, depth_step, row_step;
    real *data;
} FN(patch);

/* Sizes are compared before they are multiplied, for a step or a dilation may be any number. Returns whether it pays. */
static int FN(patch_of)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, real *data, FN(patch) * p) {
    const window *w = a->window;
    const int64_t *out = a->cols.size, *tap = a->rows.size + (a->channel_digit == 0);
    int64_t channel = a->channel_digit == 0 ? tap[0] * tap[1] * tap[2] : 1;
    for (int i = 1; i < 3; i++)
        if (tap[i] > PATCH_MOST || w->step[i] > PATCH_MOST || w->dilation[i] > PATCH_MOST || out[i + 1] > PATCH_MOST) return 0;
    *p = (FN(patch)){.a = a, .data = data, .plane = j0 / (out[2] * out[3]), .channels = a->rows.size[a->channel_digit]};
    p->planes = (j1 - 1) / (out[2] * out[3]) - p->plane + 1;
    p->row = p->planes == 1 ? j0 / out[3] % out[2] : 0;
    int64_t last = p->planes == 1 ? (j1 - 1) / out[3] % out[2] : out[2] - 1;
    if (a->channel_digit == 0) {
        p->channel = i0 / channel;
        p->channels = (i1 - 1) / channel + 1 - p->channel;
    }
    if (p->channels > PATCH_CHANNELS && w->step[2] <= 2) return 0;
    p->rows = (last - p->row) * w->step[1] + (tap[1] - 1) * w->dilation[1] + 1;
    p->line = ceil_div((out[3] - 1) * w->step[2] + (tap[2] - 1) * w->dilation[2] + 1, w->step[2]);
    int64_t lines = p->planes * p->channels, most = min_i64(PATCH_MOST, (i1 - i0) * (j1 - j0) / PATCH_REUSE);
    if (lines > most || tap[0] > most || p->rows > most || p->line > most) return 0;
    p->row_step = w->step[2] * p->line;
    p->depth_step = p->rows * p->row_step;
    if (lines * tap[0] > most || p->depth_step > most || lines * tap[0] * p->depth_step > most) return 0;
    p->channel_step = tap[0] * p->depth_step;
    p->plane_step = p->channels * p->channel_step;
    return 1;
}

/* How many steps it takes to pass x; without a division, which short rows would wait for, where it can be. */
static inline int64_t FN(steps_past)(int64_t x, int64_t step) { return x <= 0 ? 0 : step == 1 ? x : ceil_div(x, step); }

/* A row of an image from column `first` on, sorted by the place within the step: `phases` lines. There are `extent` columns from 0 on,
 * `stride` apart; what lies outside is zero. src is column `first`. */
static void FN(copy_phases)(const real *src, int64_t stride, int64_t first, int64_t extent, int64_t step, int64_t phases,
                            real *to, int64_t line) {
    /* Where all phases are inside, the row is a matrix (pixel of a phase, phase), to be turned. */
    int64_t lo = min_i64(FN(steps_past)(-first, step), line), hi = FN(steps_past)(extent - first - phases + 1, step);
    int turns = stride == 1 && step > 2 && min_i64(hi, line) > lo;
    hi = turns ? min_i64(hi, line) : lo;
    if (turns) FN(turn)(src + lo * step, step, phases, hi - lo, to + lo, line);
    for (int64_t phase = 0; phase < phases; phase++, to += line) {
        int64_t begin = FN(steps_past)(-first - phase, step), end = FN(steps_past)(extent - first - phase, step);
        const real *from = src + phase * stride;
        if (!turns) FN(copy_span)(to, from, 0, line, begin, end, step * stride);
        else {
            FN(copy_span)(to, from, 0, lo, begin, end, step * stride);
            FN(copy_span)(to + hi, from + hi * step * stride, hi, line - hi, begin, end, step * stride);
        }
    }
}

static void FN(fill_patch)(const FN(patch) * p) {
    const window *w = p->a->window;
    const axis *cols = &p->a->cols, *taps = &p->a->rows;
    int kd = p->a->channel_digit == 0;
    int64_t down = cols->stride[2] / w->step[1], along = cols->stride[3] / w->step[2]; /* of the image */
    for (int64_t i = 0; i < p->planes * p->channels * taps->size[kd]; i++) {
        int64_t d = i % taps->size[kd], c = i / taps->size[kd] % p->channels + p->channel;
        int64_t plane = i / taps->size[kd] / p->channels + p->plane, n = plane / cols->size[1], od = plane % cols->size[1];
        int64_t depth = od * w->step[0] + d * w->dilation[0] - w->pad[0], top = p->row * w->step[1] - w->pad[1];
        const real *src = (const real *)p->a->data + n * cols->stride[0] + od * cols->stride[1] + p->row * cols->stride[2] +
                          c * taps->stride[p->a->channel_digit] + d * taps->stride[kd];
        for (int64_t row = 0; row < p->rows; row++) {
            int inside = depth >= 0 && depth < w->extent[0] && top + row >= 0 && top + row < w->extent[1];
            FN(copy_phases)(src + row * down, along, -w->pad[2], inside ? w->extent[2] : 0, w->step[2], w->step[2],
                            p->data + i * p->depth_step + row * p->row_step, p->line);
        }
    }
}

/* Where a tap finds the first pixel of the patch. */
static int64_t FN(offset_of)(const FN(patch) * p, const int64_t digit[4]) {
    const window *w = p->a->window;
    const int64_t *tap = digit + (p->a->channel_digit == 0);
    int64_t along = tap[2] * w->dilation[2];
    return (digit[p->a->channel_digit] - p->channel) * p->channel_step + tap[0] * p->depth_step +
           tap[1] * w->dilation[1] * p->row_step + along % w->step[2] * p->line + along / w->step[2];
}

static void FN(copy_patch)(const FN(patch) * p, int64_t i0, int64_t i1, int64_t j0, int64_t j1, real *dst, int64_t ld,
                           int64_t panel_step, FN(piece) * pieces) {
    matrix pixels = {.cols = p->a->cols};
    FN(recipe) recipe = {&pixels, ld, panel_step, 0, 0, 0, pieces};
    int64_t digit[4], offset[ROWS_AT_ONCE], target[ROWS_AT_ONCE], down = p->a->window->step[1] * p->row_step;
    pixels.cols.stride[0] = p->a->cols.size[1] * p->plane_step;
    pixels.cols.stride[1] = p->plane_step;
    pixels.cols.stride[2] = down;
    pixels.cols.stride[3] = 1;
    FN(fill_patch)(p);
    FN(build)(&recipe, j0, j1, NULL);
    axis_digits(&p->a->rows, i0, digit);
    for (int64_t i = i0; i < i1; i += ROWS_AT_ONCE) {
        int64_t rows = min_i64(ROWS_AT_ONCE, i1 - i);
        for (int64_t r = 0; r < rows; r++, FN(advance)(&p->a->rows, digit)) {
            offset[r] = FN(offset_of)(p, digit) - p->plane * p->plane_step - p->row * down;
            target[r] = r * ld;
        }
        FN(replay)(&recipe, p->data, offset, dst + (i - i0) * ld, target, rows);
    }
}
