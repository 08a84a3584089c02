/* The gradients of a bias and of PReLU's weight: sums over all axes but the channels'. How the sums are cut depends on the tensor alone, so that the result
 * does not depend on the number of threads. */
#include "lines.h"

#define SUM_FLOPS 4.0 /* what an element costs, in flops: it is the memory that is busy */
#define GROUP 64 /* channels at most that one task sums */
#define PARTS 8 /* of the pixels at most, where channels are few */
#define TASK_ELEMENTS 16384
#define TERMS 2048 /* of PReLU, at a time */

typedef struct sum_job {
    const convc_kernels *kernels;
    const convc_tensor *target;
    lines pixels; /* of channel 0: of grad_y; and of x, where PReLU's terms are summed */
    int64_t channels, stride_c[2], group, groups, parts;
    double *sums; /* (parts, channels), if there is more than one part */
} sum_job;

/* Terms are computed piece by piece into the workspace and summed there. */
static void sum_terms(const sum_job *j, const line_piece *at, int64_t first, int64_t channels, void *terms, double *sums) {
    const int64_t *step = j->pixels.step, item = j->pixels.item[0];
    int last = channels > 1 && j->stride_c[0] == 1 && j->stride_c[1] == 1;
    int64_t run = last ? TERMS / channels : TERMS;
    for (int64_t i = 0; i < at->count; i += run) {
        int64_t count = min_i64(run, at->count - i), rows = last ? count : channels, length = last ? channels : count;
        for (int64_t k = 0; k < rows; k++) {
            int64_t pixel = last ? i + k : i, channel = last ? first : first + k;
            void *data[3] = {(char *)terms + (last ? k * length * item : 0)};
            for (int t = 0; t < 2; t++) data[t + 1] = (char *)at->data[t] + (pixel * step[t] + channel * j->stride_c[t]) * item;
            const int64_t steps[3] = {1, last ? 1 : step[0], last ? 1 : step[1]}, apart[3] = {0};
            j->kernels->map(MAP_PRELU_TERMS, &(map_lines){data, steps, apart, length, 1}, 0);
            if (!last) j->kernels->sum_line(terms, 1, length, 0, 1, sums + k);
        }
        if (last) j->kernels->sum_line(terms, channels, count, 1, channels, sums);
    }
}

static void sum_task(const void *context, int64_t task, void *workspace) {
    const sum_job *j = context;
    double sums[GROUP] = {0};
    int64_t part = task / j->groups, pieces = lines_pieces(&j->pixels), end = split_point(pieces, j->parts, part + 1);
    int64_t first = task % j->groups * j->group, channels = min_i64(j->group, j->channels - first);
    for (int64_t i = split_point(pieces, j->parts, part); i < end; i++) {
        line_piece at = lines_piece(&j->pixels, i);
        const char *data = (const char *)at.data[0] + first * j->stride_c[0] * j->pixels.item[0];
        if (j->pixels.tensors > 1) sum_terms(j, &at, first, channels, workspace, sums);
        else j->kernels->sum_line(data, j->pixels.step[0], at.count, j->stride_c[0], channels, sums);
    }
    for (int64_t c = 0; c < channels; c++) {
        if (j->parts > 1) j->sums[part * j->channels + first + c] = sums[c];
        else convc_set_number(j->target, first + c, sums[c]);
    }
}

/* The sums of grad_y, or of PReLU's terms of grad_y and x, over all axes but one; over all for axis -1. */
static convc_status sum_all_but(const convc_tensor *grad_y, const convc_tensor *x, int channel_axis, const convc_tensor *target) {
    double sums[PARTS * PARTS * GROUP];
    if (convc_size(grad_y) == 0) return convc_fill_zero(target);
    convc_tensor view = *grad_y, x_view = x ? *x : *grad_y;
    if (channel_axis >= 0) {
        view = convc_without_axis(&view, channel_axis);
        x_view = convc_without_axis(&x_view, channel_axis);
    }
    sum_job j = {.kernels = convc_kernels_for(grad_y->dtype), .target = target};
    j.pixels = convc_lines_of(x ? 2 : 1, &view, &x_view, NULL);
    j.channels = target->shape[0];
    j.stride_c[0] = channel_axis < 0 ? 0 : element_stride(grad_y, channel_axis);
    j.stride_c[1] = channel_axis < 0 || !x ? 0 : element_stride(x, channel_axis);
    j.group = j.stride_c[0] == 1 ? GROUP : max_i64(1, min_i64(GROUP, TASK_ELEMENTS / convc_size(&view)));
    j.groups = ceil_div(j.channels, j.group);
    j.parts = j.groups < PARTS ? min_i64(PARTS, lines_pieces(&j.pixels)) : 1; /* then sums is large enough */
    j.sums = sums;
    size_t workspace = x ? (size_t)(TERMS * convc_itemsize(x->dtype)) : 0;
    TRY(convc_parallel(sum_task, &j, j.groups * j.parts, SUM_FLOPS * (double)convc_size(grad_y), workspace));
    for (int64_t c = 0; c < j.channels && j.parts > 1; c++) {
        double sum = 0;
        for (int64_t part = 0; part < j.parts; part++) sum += sums[part * j.channels + c];
        convc_set_number(target, c, sum);
    }
    return CONVC_OK;
}

convc_status convc_sum_prelu(const convc_tensor *grad_y, const convc_tensor *x, int channel_axis,
                             const convc_tensor *grad_weight) {
    return sum_all_but(grad_y, x, channel_axis, grad_weight);
}

convc_status convc_backward_bias(const convc_tensor *grad_y, const convc_tensor *grad_bias) {
    TRY(convc_check_tensor(grad_y, "grad", 2, CONVC_MAX_NDIM));
    TRY(convc_check_output(grad_bias, "grad_bias", 1, 1));
    TRY(convc_check_shape(grad_bias, "grad_bias", &grad_y->shape[1], 1));
    TRY(convc_check_dtype(grad_bias, "grad_bias", grad_y, "grad"));
    TRY(convc_check_disjoint(grad_bias, "grad_bias", grad_y, "grad"));
    return sum_all_but(grad_y, NULL, 1, grad_bias);
}
