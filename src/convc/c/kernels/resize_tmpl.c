/* Resizing: rows of y from rows of x that are first stretched to y's width, and the same backwards. A stretched row serves all rows of y
 * beside it. */

#undef RESIZE_WORKSPACE
#undef MARGIN
#define RESIZE_WORKSPACE sizeof(FN(resize_lines))
#define RESIZE_TAPS 32 /* columns that an element of x goes to, at most, where vectors run along x backwards */
#define MARGIN (RESIZE_TAPS + 4 * VL) /* zeros on either side of a line that windows may reach into */

/* A block of columns: the taps as offsets in a row of x, their weights, and stretched rows, each with the number of the row that it is.
 * The lines of a block end in whole vectors. */
typedef struct FN(resize_lines) {
    int64_t low[RESIZE_ROW], high[RESIZE_ROW], number[4];
    real near[RESIZE_ROW], far[RESIZE_ROW], row[4][RESIZE_ROW];
    real line[MARGIN + RESIZE_ROW + MARGIN], *sum; /* which is the line between its margins */
    /* Forward, where the low taps of a vector of columns lie in one vector of x and the high ones in another: where these begin in the
     * row, whole vectors within it, and which lanes of them it takes. */
    int is_shuffle, is_nearest;
    int64_t base[2][RESIZE_ROW / VL];
    FN(word) lane[2][RESIZE_ROW];
    /* Backward, where `taps` is not 0: elements first .. first + count of x are sums of so many columns from `from` on, which grows by
     * `step` from element to element if that is not 0, times `part`, tap by tap, each a line of whole vectors. */
    int64_t taps, step, first, count, from[RESIZE_ROW];
    int has_holes; /* columns between those with a part that have none: they may hold NaNs */
    real part[4 * RESIZE_ROW];
} FN(resize_lines);

static void FN(load_columns)(const resize *r, int64_t first, int64_t count, FN(resize_lines) * l) {
    l->sum = l->line + MARGIN;
    l->is_nearest = 1;
    for (int64_t j = 0; j < count; j++) {
        tap_pair t = resize_taps(&r->axis[2], first + j);
        l->low[j] = t.low * r->x.stride[2];
        l->high[j] = t.high * r->x.stride[2];
        l->near[j] = (real)(1 - t.weight);
        l->far[j] = (real)t.weight;
        l->is_nearest &= l->far[j] == 0;
    }
    for (int i = 0; i < 4; i++) l->number[i] = -1;
}

/* to[i] = the sum of weight[k] * from[k][i] over k < count */
static inline ALWAYS_INLINE void FN(weigh)(const real *const from[], const real *weight, const int count, real *to, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        vec sum = vmul(vload(from[0] + i), vset1(weight[0]));
        for (int k = 1; k < count; k++) sum = vfma(vload(from[k] + i), vset1(weight[k]), sum);
        vstore(to + i, sum);
    }
    if (i == n) return;
    vmask rest = vlanes(0, (int)(n - i));
    vec sum = vmul(vload_masked(from[0] + i, rest), vset1(weight[0]));
    for (int k = 1; k < count; k++) sum = vfma(vload_masked(from[k] + i, rest), vset1(weight[k]), sum);
    vstore_first(to + i, sum, (int)(n - i));
}

/* Rows that are weighed and summed: stretched rows of x forward, rows of y backward. */
typedef struct FN(resize_sources) {
    int count;
    const real *from[4];
    real weight[4];
} FN(resize_sources);

static void FN(weigh_sources)(const FN(resize_sources) * s, real *to, int64_t n) {
    switch (s->count) {
    case 1:
        if (s->weight[0] == 1) memmove(to, s->from[0], (size_t)n * sizeof *to);
        else FN(weigh)(s->from, s->weight, 1, to, n);
        break;
    case 2: FN(weigh)(s->from, s->weight, 2, to, n); break;
    case 3: FN(weigh)(s->from, s->weight, 3, to, n); break;
    default: FN(weigh)(s->from, s->weight, 4, to, n); break;
    }
}

/* to[i] += weight * from[i] */
static inline void FN(add_weighed)(const real *from, real weight, real *to, int64_t n) {
    const real weights[2] = {1, weight};
    FN(weigh)((const real *const[]){to, from}, weights, 2, to, n);
}

/* ---- columns forward ---- */

/* Finds the vectors of x that hold what each vector of columns needs, if one holds the low taps and one the high taps. */
static void FN(find_shuffle)(const resize *r, int64_t count, FN(resize_lines) * l) {
    int64_t last = max_i64(r->x.size[2] - VL, 0);
    l->is_shuffle = r->channels == 1 && r->x.stride[2] == 1;
    for (int64_t j = 0; j < count && l->is_shuffle; j++) {
        int64_t v = j / VL;
        if (j % VL == 0) {
            l->base[0][v] = min_i64(l->low[j], last);
            l->base[1][v] = min_i64(l->low[j] + 1, last);
        }
        int64_t low = l->low[j] - l->base[0][v], high = max_i64(l->high[j] - l->base[1][v], 0); /* below 0 it has no weight */
        l->is_shuffle = low < VL && high < VL;
        l->lane[0][j] = vlane(low);
        l->lane[1][j] = vlane(high);
    }
    for (int64_t j = count; j % VL; j++) {
        l->lane[0][j] = l->lane[1][j] = vlane(0);
        l->near[j] = l->far[j] = 0;
    }
}

static inline ALWAYS_INLINE void FN(shuffle)(const FN(resize_lines) * l, const real *x, int64_t count, const int is_nearest,
                                             real *to) {
    for (int64_t j = 0, v = 0; j < count; j += VL, v++) {
        vec low = vpermute(vload(x + l->base[0][v]), l->lane[0] + j);
        if (!is_nearest) {
            vec high = vpermute(vload(x + l->base[1][v]), l->lane[1] + j), far = vload(l->far + j);
            low = vselect(vgt(far, vzero()), vadd(vmul(low, vload(l->near + j)), vmul(high, far)), low);
        }
        vstore(to + j, low);
    }
}

/* A row of x, `width` long, at the block's columns. A weight of 0 must not make an infinity NaN. */
static void FN(stretch)(const FN(resize_lines) * l, const real *x, int64_t width, int64_t count, int64_t channels, real *to) {
    real whole[VL] = {0};
    if (l->is_shuffle) {
        if (width < VL) x = memcpy(whole, x, (size_t)width * sizeof *x);
        if (l->is_nearest) FN(shuffle)(l, x, count, 1, to);
        else FN(shuffle)(l, x, count, 0, to);
    } else if (channels == 1 && l->is_nearest) {
        for (int64_t j = 0; j < count; j++) to[j] = x[l->low[j]];
    } else if (channels == 1) {
        for (int64_t j = 0; j < count; j++) {
            real low = x[l->low[j]], between = low * l->near[j] + x[l->high[j]] * l->far[j];
            to[j] = l->far[j] == 0 ? low : between;
        }
    }
    for (int64_t j = 0; j < count && channels > 1; j++, to += channels) {
        const real *const from[2] = {x + l->low[j], x + l->high[j]}, weights[2] = {l->near[j], l->far[j]};
        if (l->far[j] == 0) memcpy(to, from[0], (size_t)channels * sizeof *to);
        else FN(weigh)(from, weights, 2, to, channels);
    }
}

/* The stretched rows that a row of y is computed from: 1, 2 or 4, those of weight 0 left out. */
static FN(resize_sources)
    FN(sources_of)(const resize *r, const resize_place *at, int64_t count, int64_t channels, FN(resize_lines) * l) {
    FN(resize_sources) s = {0};
    tap_pair d = resize_taps(&r->axis[0], at->d), h = resize_taps(&r->axis[1], at->h);
    for (int k = 0; k < 4; k++) {
        double part = (k / 2 ? d.weight : 1 - d.weight) * (k % 2 ? h.weight : 1 - h.weight);
        int64_t in_d = k / 2 ? d.high : d.low, in_h = k % 2 ? h.high : h.low;
        if (part == 0) continue;
        /* Neighbours differ in parity: no two of these rows want one place. */
        int64_t slot = in_d % 2 * 2 + in_h % 2;
        int64_t number = ((at->n * r->groups + at->group) * r->x.size[0] + in_d) * r->x.size[1] + in_h;
        if (l->number[slot] != number)
            FN(stretch)(l, (const real *)r->x.data + resize_offset(r, &r->x, at->n, at->group, in_d, in_h), r->x.size[2], count,
                        channels, l->row[slot]);
        l->number[slot] = number;
        s.from[s.count] = l->row[slot];
        s.weight[s.count++] = (real)part;
    }
    return s;
}

/* Rows begin..end of y, in the order of resize_row */
static void FN(resize_rows)(const resize *r, int64_t begin, int64_t end, void *workspace) {
    FN(resize_lines) *l = workspace;
    const volume *y = &r->y;
    int64_t step = y->stride[2];
    for (int64_t first = 0; first < y->size[2]; first += r->columns) {
        int64_t count = min_i64(r->columns, y->size[2] - first);
        FN(load_columns)(r, first, count, l);
        FN(find_shuffle)(r, count, l);
        resize_place at = resize_row(r, y, begin);
        for (int64_t i = begin; i < end; i++, resize_next_row(r, y, &at)) {
            int64_t channels = min_i64(r->channels, y->c - at.group * r->channels), n = count * channels;
            FN(resize_sources) s = FN(sources_of)(r, &at, count, channels, l);
            real *to = (real *)y->data + resize_offset(r, y, at.n, at.group, at.d, at.h) + first * step;
            real *sum = step == channels ? to : l->sum;
            FN(weigh_sources)(&s, sum, n);
            for (int64_t j = 0; j < count && sum != to; j++)
                for (int64_t c = 0; c < channels; c++) to[j * step + c] = sum[j * channels + c];
        }
    }
}

/* ---- columns backward ---- */

/* l->sum = the gradients of all rows of y, at the block's columns, that row (d, h) of x is a source of, as far as it is */
static void FN(gather_rows)(const resize *r, const resize_place *at, int64_t first, int64_t count, int64_t channels,
                            FN(resize_lines) * l) {
    const volume *y = &r->y;
    FN(resize_sources) s = {0};
    int64_t d_end = resize_first(&r->axis[0], at->d + 1), h_end = resize_first(&r->axis[1], at->h + 1), step = y->stride[2];
    int64_t h_begin = resize_first(&r->axis[1], at->h - 1), n = count * channels;
    for (int64_t d = resize_first(&r->axis[0], at->d - 1); d < d_end; d++) {
        tap_pair td = resize_taps(&r->axis[0], d);
        double part_d = td.low == at->d ? 1 - td.weight : td.high == at->d ? td.weight : 0;
        for (int64_t h = h_begin; h < h_end && part_d > 0; h++) {
            tap_pair th = resize_taps(&r->axis[1], h);
            double part = part_d * (th.low == at->h ? 1 - th.weight : th.high == at->h ? th.weight : 0);
            const real *from = (const real *)y->data + resize_offset(r, y, at->n, at->group, d, h) + first * step;
            if (part == 0) continue;
            if (s.count == 4) {
                FN(weigh_sources)(&s, l->sum, n);
                s = (FN(resize_sources)){.count = 1, .from = {l->sum}, .weight = {1}};
            }
            if (step != channels) {
                for (int64_t j = 0; j < count; j++)
                    for (int64_t c = 0; c < channels; c++) l->row[s.count][j * channels + c] = from[j * step + c];
                from = l->row[s.count];
            }
            s.from[s.count] = from;
            s.weight[s.count++] = (real)part;
        }
    }
    if (s.count) FN(weigh_sources)(&s, l->sum, n);
    else memset(l->sum, 0, (size_t)n * sizeof *l->sum);
}

/* The columns that each of n elements of x gathers from: as many as any needs, and evenly apart if two more are enough for that. */
static void FN(find_columns)(int64_t n, int64_t count, FN(resize_lines) * l) {
    int64_t step = (count + n / 2) / n, lowest = 0, most = 0, even = 0, end = 0;
    for (int64_t i = 0, j = 0; i < n; i++) { /* begins where i is the high tap, ends where it is the low one */
        while (j < count && l->high[j] - l->first < i) j++;
        for (end = max_i64(end, j); end < count && l->low[end] - l->first <= i;) end++;
        l->from[i] = j;
        most = max_i64(most, end - j);
        lowest = min_i64(lowest, j - step * i);
        even = max_i64(even, end - step * i);
    }
    even -= lowest;
    l->step = even <= most + 2 ? step : 0;
    l->taps = l->step ? even : most;
    for (int64_t i = 0; i < n && l->step; i++) l->from[i] = step * i + lowest;
}

/* Turns the columns' taps around, where x is stretched, but not too far. */
static void FN(find_parts)(const resize *r, int64_t count, FN(resize_lines) * l) {
    int64_t n = l->high[count - 1] + 1 - l->low[0], pitch = ceil_div(n, VL) * VL;
    l->taps = l->has_holes = 0;
    l->first = l->low[0];
    l->count = n;
    if (r->channels > 1 || r->x.stride[2] != 1 || n > count || pitch > RESIZE_ROW) return;
    FN(find_columns)(n, count, l);
    if (l->taps > RESIZE_TAPS || l->taps * pitch > 4 * RESIZE_ROW) {
        l->taps = 0;
        return;
    }
    for (int64_t i = n; i < pitch; i++) l->from[i] = l->from[n - 1];
    memset(l->part, 0, (size_t)(l->taps * pitch) * sizeof *l->part);
    for (int64_t j = 0; j < count; j++) {
        int64_t low = l->low[j] - l->first, high = l->high[j] - l->first;
        l->part[(j - l->from[low]) * pitch + low] += l->near[j];
        l->part[(j - l->from[high]) * pitch + high] += l->far[j];
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t t = max_i64(-l->from[i], 0); t < l->taps && l->from[i] + t < count; t++)
            l->has_holes |= l->part[t * pitch + i] == 0;
    memset(l->line, 0, MARGIN * sizeof *l->line);
    memset(l->sum + count, 0, MARGIN * sizeof *l->sum);
}

static inline ALWAYS_INLINE vec FN(pick_columns)(const real *p, const int64_t step, int64_t lanes) {
    if (step != 4) return FN(pick)(p, step, lanes);
    return veven(vload_step(p, 2), vload_step(p + 2 * VL - 2, 2));
}

/* Adds to each element of a row of x the columns that came from it. */
static inline ALWAYS_INLINE void FN(gather_columns)(const FN(resize_lines) * l, const int64_t step, const int has_holes,
                                                    real *x) {
    int64_t pitch = ceil_div(l->count, VL) * VL;
    real lane[VL];
    for (int64_t i = 0; i < l->count; i += VL) {
        int lanes = (int)min_i64(VL, l->count - i);
        vec sum = lanes == VL ? vload(x + i) : vload_masked(x + i, vlanes(0, lanes));
        for (int64_t t = 0; t < l->taps; t++) {
            vec column, part = vload(l->part + t * pitch + i);
            for (int k = 0; k < VL && step == 0; k++) lane[k] = l->sum[l->from[i + k] + t];
            column = step ? FN(pick_columns)(l->sum + l->from[i] + t, step, lanes) : vload(lane);
            if (has_holes) column = vselect(vgt(part, vzero()), column, vzero());
            sum = vfma(column, part, sum);
        }
        vstore_first(x + i, sum, lanes);
    }
}

static inline ALWAYS_INLINE void FN(gather_each)(const FN(resize_lines) * l, const int64_t step, real *x) {
    if (l->has_holes) FN(gather_columns)(l, step, 1, x);
    else FN(gather_columns)(l, step, 0, x);
}

static void FN(gather)(const FN(resize_lines) * l, real *x) {
    switch (l->step) {
    case 0: FN(gather_each)(l, 0, x); break;
    case 1: FN(gather_each)(l, 1, x); break;
    case 2: FN(gather_each)(l, 2, x); break;
    case 4: FN(gather_each)(l, 4, x); break;
    default: FN(gather_each)(l, l->step, x); break;
    }
}

/* Adds the columns of a sum to the elements of a row of x that they came from. */
static void FN(shrink)(const FN(resize_lines) * l, int64_t count, int64_t channels, real *x) {
    const real *sum = l->sum;
    for (int64_t j = 0; j < count; j++, sum += channels) {
        if (channels > 1) FN(add_weighed)(sum, l->near[j], x + l->low[j], channels);
        else x[l->low[j]] += *sum * l->near[j];
        if (l->far[j] == 0) continue;
        if (channels > 1) FN(add_weighed)(sum, l->far[j], x + l->high[j], channels);
        else x[l->high[j]] += *sum * l->far[j];
    }
}

/* Rows begin..end of the gradient of x, in the order of resize_row */
static void FN(resize_rows_backward)(const resize *r, int64_t begin, int64_t end, void *workspace) {
    FN(resize_lines) *l = workspace;
    const volume *x = &r->x;
    for (int64_t first = 0; first < r->y.size[2]; first += r->columns) {
        int64_t count = min_i64(r->columns, r->y.size[2] - first);
        FN(load_columns)(r, first, count, l);
        FN(find_parts)(r, count, l);
        resize_place at = resize_row(r, x, begin);
        for (int64_t i = begin; i < end; i++, resize_next_row(r, x, &at)) {
            int64_t channels = min_i64(r->channels, x->c - at.group * r->channels);
            real *row = (real *)x->data + resize_offset(r, x, at.n, at.group, at.d, at.h);
            if (first == 0 && x->stride[2] == channels) FN(zero_run)(row, x->size[2] * channels);
            else
                for (int64_t j = 0; j < x->size[2] && first == 0; j++) FN(zero_run)(row + j * x->stride[2], channels);
            FN(gather_rows)(r, &at, first, count, channels, l);
            if (l->taps) FN(gather)(l, row + l->first);
            else FN(shrink)(l, count, channels, row);
        }
    }
}
