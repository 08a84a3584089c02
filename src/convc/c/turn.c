/* Dense copies of images with the channels last or first, for kernels that read them so. */
#include "conv.h"

#define TURNED_CHANNELS 64 /* of a task */
#define TURNED_ROWS 8

typedef struct turn_job {
    const volume *from;
    const convc_kernels *kernels;
    convc_dtype dtype;
    char *to;
    int64_t parts, pixels; /* of an image */
} turn_job;

static void to_channels_last(const void *context, int64_t task, void *workspace) {
    const turn_job *j = context;
    const volume *x = j->from;
    int64_t n = task / j->parts, first = task % j->parts * TURNED_CHANNELS;
    (void)workspace;
    j->kernels->turn(element(x, n * x->stride_n + first * x->stride_c, j->dtype), x->stride_c, j->pixels,
                     min_i64(TURNED_CHANNELS, x->c - first), j->to + (n * j->pixels * x->c + first) * convc_itemsize(j->dtype),
                     x->c);
}

static void to_channels_first(const void *context, int64_t task, void *workspace) {
    const turn_job *j = context;
    const volume *x = j->from;
    int64_t n = task / j->parts, first = task % j->parts * TURNED_ROWS, width = x->size[2];
    int64_t end = min_i64(first + TURNED_ROWS, x->size[0] * x->size[1]);
    (void)workspace;
    for (int64_t row = first; row < end; row++) {
        int64_t at = n * x->stride_n + row / x->size[1] * x->stride[0] + row % x->size[1] * x->stride[1];
        j->kernels->turn(element(x, at, j->dtype), x->stride[2], x->c, width,
                         j->to + (n * j->pixels * x->c + row * width) * convc_itemsize(j->dtype), j->pixels);
    }
}

int64_t convc_volume_bytes(const volume *v, convc_dtype dtype) {
    return convc_times(convc_times(v->n * v->c, convc_itemsize(dtype)), v->size[0] * v->size[1] * v->size[2]);
}

convc_status convc_turn(volume *v, convc_dtype dtype, int channels_last, void *to) {
    volume from = *v;
    turn_job j = {&from, convc_kernels_for(dtype), dtype, to, 0, v->size[0] * v->size[1] * v->size[2]};
    j.parts = channels_last ? ceil_div(v->c, TURNED_CHANNELS) : ceil_div(v->size[0] * v->size[1], TURNED_ROWS);
    TRY(convc_parallel(channels_last ? to_channels_last : to_channels_first, &j, v->n * j.parts,
                       TURN_COST * (double)(v->n * v->c) * (double)j.pixels, 0));
    v->data = to;
    v->stride_c = channels_last ? 1 : j.pixels;
    for (int64_t i = 2, stride = channels_last ? v->c : 1; i >= 0; i--) {
        v->stride[i] = stride;
        stride *= v->size[i];
    }
    v->stride_n = j.pixels * v->c;
    return CONVC_OK;
}
