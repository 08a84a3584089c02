/* col2im: the adjoint of im2col, one (d, h, w) plane at a time. im2col itself is pack_tmpl.c's copy_block. */

/* line[i * step] += cols[i * stride], i < n */
static inline void FN(add_line)(real *line, int64_t step, const real *cols, int64_t stride, int64_t n) {
    int64_t i = 0;
    if (step == 1 && stride == 1)
        for (; i + VL <= n; i += VL) vstore(line + i, vadd(vload(line + i), vload(cols + i)));
    for (; i < n; i++) line[i * step] += cols[i * stride];
}

static void FN(clear_plane)(const conv *c, real *plane) {
    for (int64_t d = 0; d < c->x.size[0]; d++)
        for (int64_t h = 0; h < c->x.size[1]; h++) {
            real *line = plane + d * c->x.stride[0] + h * c->x.stride[1];
            for (int64_t w = 0; w < c->x.size[2]; w++) line[w * c->x.stride[2]] = 0;
        }
}

/* Adds the row of columns that belongs to one tap: cols is (od, oh, ow) by stride_l. */
static void FN(add_tap)(const conv *c, const int64_t tap[3], const real *cols, int64_t stride_l, real *plane) {
    int64_t at[3], first[3], last[3];
    for (int i = 0; i < 3; i++) { /* the outputs whose tap lies inside the plane */
        int64_t shift = c->pad[i] - tap[i] * c->dilation[i];
        at[i] = -shift;
        first[i] = shift <= 0 ? 0 : ceil_div(shift, c->step[i]);
        last[i] = shift + c->x.size[i] <= 0 ? 0 : min_i64(c->y.size[i], ceil_div(shift + c->x.size[i], c->step[i]));
    }
    for (int64_t d = first[0]; d < last[0]; d++)
        for (int64_t h = first[1]; h < last[1]; h++) {
            const real *from = cols + ((d * c->y.size[1] + h) * c->y.size[2] + first[2]) * stride_l;
            real *line = plane + (d * c->step[0] + at[0]) * c->x.stride[0] + (h * c->step[1] + at[1]) * c->x.stride[1] +
                         (first[2] * c->step[2] + at[2]) * c->x.stride[2];
            if (first[2] < last[2]) FN(add_line)(line, c->step[2] * c->x.stride[2], from, stride_l, last[2] - first[2]);
        }
}

static void FN(col2im_plane)(const conv *c, const void *cols, const axis *rows, int64_t stride_l, void *plane) {
    int64_t tap[3];
    FN(clear_plane)(c, plane);
    for (tap[0] = 0; tap[0] < c->w.size[0]; tap[0]++)
        for (tap[1] = 0; tap[1] < c->w.size[1]; tap[1]++)
            for (tap[2] = 0; tap[2] < c->w.size[2]; tap[2]++) {
                int64_t row = tap[0] * rows->stride[1] + tap[1] * rows->stride[2] + tap[2] * rows->stride[3];
                FN(add_tap)(c, tap, (const real *)cols + row, stride_l, plane);
            }
}
