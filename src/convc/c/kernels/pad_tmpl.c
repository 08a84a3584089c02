/* Copies of images with padding taken from the image itself, and the way back: gradients of a copy added to those of the image. Row by
 * row; along a row, the pixels inside the image are one run. */

/* n elements of the image, `stride` apart, and as many of the copy, side by side. */
static inline ALWAYS_INLINE void FN(move_run)(real *image, int64_t stride, real *copy, int64_t n, const int fold) {
    int64_t i = 0;
    if (!fold) {
        FN(copy_run)(copy, image, n, stride);
        return;
    }
    if (stride == 1)
        for (; i + VL <= n; i += VL) vstore(image + i, vadd(vload(image + i), vload(copy + i)));
    for (; i < n; i++) image[i * stride] += copy[i];
}

/* A row of both; a pixel has so many channels, the copy's side by side. */
static inline ALWAYS_INLINE void FN(move_row)(const padding *p, real *image, real *copy, int64_t channels, int64_t pixel,
                                              const int fold) {
    int64_t across = p->copy.size[2], first = p->first[2], extent = p->image.size[2];
    int64_t step = p->image.stride[2], apart = p->image.stride_c;
    int64_t lo = max_i64(0, min_i64(-first, across)), hi = max_i64(lo, min_i64(extent - first, across));
    for (int64_t i = 0; i < across; i++) {
        if (i == lo && hi > lo && (channels == 1 || (apart == 1 && step == channels && pixel == channels))) {
            FN(move_run)(image + (first + lo) * step, channels == 1 ? step : 1, copy + lo * pixel, (hi - lo) * channels, fold);
            i = hi - 1;
            continue;
        }
        int64_t source = padding_source(p->mode, first + i, extent);
        FN(move_run)(image + source * step, apart, copy + i * pixel, channels, fold);
    }
}

static real *FN(padded_row)(const padding *p, int64_t n, int64_t c, int64_t d, int64_t h) {
    const volume *v = &p->image;
    return (real *)v->data + n * v->stride_n + c * v->stride_c +
           padding_source(p->mode, p->first[0] + d, v->size[0]) * v->stride[0] +
           padding_source(p->mode, p->first[1] + h, v->size[1]) * v->stride[1];
}

static real *FN(copied_row)(const padding *p, int64_t n, int64_t c, int64_t d, int64_t h) {
    const volume *v = &p->copy;
    return (real *)v->data + n * v->stride_n + c * v->stride_c + d * v->stride[0] + h * v->stride[1];
}

/* Fills rows begin..end of the copy. */
static void FN(pad_rows)(const padding *p, int64_t begin, int64_t end) {
    int64_t channels = p->channels_last ? p->copy.c : 1;
    for (int64_t row = begin; row < end; row++) {
        int64_t h = row % p->copy.size[1], d = row / p->copy.size[1] % p->copy.size[0];
        int64_t plane = row / p->copy.size[1] / p->copy.size[0];
        int64_t n = p->channels_last ? plane : plane / p->copy.c, c = p->channels_last ? 0 : plane % p->copy.c;
        FN(move_row)(p, FN(padded_row)(p, n, c, d, h), FN(copied_row)(p, n, c, d, h), channels, p->copy.stride[2], 0);
    }
}

/* Adds planes begin..end of the copy to the image. */
static void FN(fold_planes)(const padding *p, int64_t begin, int64_t end) {
    int64_t parts = p->channels_last ? ceil_div(p->copy.c, PADDING_CHANNELS) : p->copy.c;
    for (int64_t plane = begin; plane < end; plane++) {
        int64_t n = plane / parts, c = plane % parts, channels = 1;
        if (p->channels_last) {
            c *= PADDING_CHANNELS;
            channels = min_i64(PADDING_CHANNELS, p->copy.c - c);
        }
        for (int64_t d = 0; d < p->copy.size[0]; d++)
            for (int64_t h = 0; h < p->copy.size[1]; h++)
                FN(move_row)(p, FN(padded_row)(p, n, c, d, h), FN(copied_row)(p, n, c, d, h), channels, p->copy.stride[2], 1);
    }
}
