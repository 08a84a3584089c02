/* The gradient of a bias: sums over all axes but the channels'. How the sums are cut depends on the tensor alone, so that the result
 * does not depend on the number of threads. */
#include "lines.h"

#define SUM_FLOPS 4.0 /* what an element costs, in flops: it is the memory that is busy */
#define GROUP 64 /* channels at most that one task sums */
#define PARTS 8 /* of the pixels at most, where channels are few */
#define TASK_ELEMENTS 16384

typedef struct sum_job {
    const convc_kernels *kernels;
    const convc_tensor *grad_y, *grad_bias;
    lines pixels; /* of channel 0 */
    int64_t channels, stride_c, group, groups, parts;
    double *sums; /* (parts, channels), if there is more than one part */
} sum_job;

static void sum_task(const void *context, int64_t task, void *workspace) {
    const sum_job *j = context;
    double sums[GROUP] = {0};
    int64_t part = task / j->groups, pieces = lines_pieces(&j->pixels), end = split_point(pieces, j->parts, part + 1);
    int64_t first = task % j->groups * j->group, channels = min_i64(j->group, j->channels - first);
    (void)workspace;
    for (int64_t i = split_point(pieces, j->parts, part); i < end; i++) {
        line_piece at = lines_piece(&j->pixels, i);
        const char *data = (const char *)at.data[0] + first * j->stride_c * j->pixels.item[0];
        j->kernels->sum_line(data, j->pixels.step[0], at.count, j->stride_c, channels, sums);
    }
    for (int64_t c = 0; c < channels; c++) {
        if (j->parts > 1) j->sums[part * j->channels + first + c] = sums[c];
        else convc_set_number(j->grad_bias, first + c, sums[c]);
    }
}

convc_status convc_backward_bias(const convc_tensor *grad_y, const convc_tensor *grad_bias) {
    double sums[PARTS * PARTS * GROUP];
    TRY(convc_check_tensor(grad_y, "grad", 2, CONVC_MAX_NDIM));
    TRY(convc_check_output(grad_bias, "grad_bias", 1, 1));
    TRY(convc_check_shape(grad_bias, "grad_bias", &grad_y->shape[1], 1));
    TRY(convc_check_dtype(grad_bias, "grad_bias", grad_y, "grad"));
    TRY(convc_check_disjoint(grad_bias, "grad_bias", grad_y, "grad"));
    if (convc_size(grad_y) == 0) return convc_fill_zero(grad_bias);

    convc_tensor view = convc_without_channels(grad_y);
    sum_job j = {.kernels = convc_kernels_for(grad_y->dtype), .grad_y = grad_y, .grad_bias = grad_bias};
    j.pixels = convc_lines_of(1, &view, NULL, NULL);
    j.channels = grad_y->shape[1];
    j.stride_c = element_stride(grad_y, 1);
    j.group = j.stride_c == 1 ? GROUP : max_i64(1, min_i64(GROUP, TASK_ELEMENTS / convc_size(&view)));
    j.groups = ceil_div(j.channels, j.group);
    j.parts = j.groups < PARTS ? min_i64(PARTS, lines_pieces(&j.pixels)) : 1; /* then sums is large enough */
    j.sums = sums;
    TRY(convc_parallel(sum_task, &j, j.groups * j.parts, SUM_FLOPS * (double)convc_size(grad_y), 0));
    for (int64_t c = 0; c < j.channels && j.parts > 1; c++) {
        double sum = 0;
        for (int64_t part = 0; part < j.parts; part++) sum += sums[part * j.channels + c];
        convc_set_number(grad_bias, c, sum);
    }
    return CONVC_OK;
}
