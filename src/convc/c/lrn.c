/* Local response normalisation: every channel of a pixel is divided by what the channels around it amount to. */
#include "lrn.h"

#include "lines.h"

#define LRN_FLOPS 64.0 /* what an element costs, in flops: a root or a power */

typedef struct lrn_job {
    const convc_kernels *kernels;
    lrn_block block;
    lines pixels; /* of channel 0 */
    int64_t tasks;
} lrn_job;

static void lrn_task(const void *context, int64_t task, void *workspace) {
    const lrn_job *j = context;
    lrn_block b = j->block;
    int64_t pieces = lines_pieces(&j->pixels), end = split_point(pieces, j->tasks, task + 1);
    for (int64_t i = split_point(pieces, j->tasks, task); i < end; i++) {
        line_piece at = lines_piece(&j->pixels, i);
        for (int64_t done = 0; done < at.count; done += b.n) {
            b.n = min_i64(j->kernels->lrn_pixels, at.count - done);
            for (int t = 0; t < j->pixels.tensors; t++)
                b.data[t] = (char *)at.data[t] + done * j->pixels.step[t] * j->pixels.item[t];
            if (j->pixels.tensors == 3) j->kernels->lrn_backward(&b, workspace);
            else j->kernels->lrn(&b, workspace);
        }
    }
}

static convc_status run(const convc_lrn_params *params, const convc_tensor *x, const convc_tensor *to,
                        const convc_tensor *grad_y) {
    const convc_tensor *const given[3] = {x, to, grad_y};
    convc_tensor pixels[3];
    int tensors = grad_y ? 3 : 2;
    lrn_job j = {.kernels = convc_kernels_for(x->dtype)};
    for (int t = 0; t < tensors; t++) {
        pixels[t] = convc_without_axis(given[t], 1);
        j.block.stride_c[t] = element_stride(given[t], 1);
    }
    j.pixels = convc_lines_of(tensors, &pixels[0], &pixels[1], &pixels[2]);
    for (int t = 0; t < tensors; t++) j.block.step[t] = j.pixels.step[t];
    j.block.channels = x->shape[1];
    j.block.before = min_i64(params->size / 2, x->shape[1]);
    j.block.after = min_i64((params->size - 1) / 2, x->shape[1]);
    j.block.scale = params->alpha / (double)params->size;
    j.block.beta = params->beta;
    j.block.k = params->k;
    int64_t block = j.kernels->lrn_pixels;
    j.pixels.pieces = max_i64(j.pixels.pieces, ceil_div(j.pixels.length, 8 * block));
    j.tasks = lines_pieces(&j.pixels);
    int64_t room = convc_times(convc_times(x->shape[1], block), 4 * convc_itemsize(x->dtype));
    if (room < 0) return convc_fail(CONVC_NO_MEMORY, "no memory for the channels of %lld pixels", (long long)block);
    return convc_parallel(lrn_task, &j, j.tasks, LRN_FLOPS * (double)convc_size(x), (size_t)room);
}

static convc_status check(const convc_tensor *x, const convc_lrn_params *params) {
    TRY(convc_check_tensor(x, "x", 2, CONVC_MAX_NDIM));
    if (params->size < 1) return convc_fail(CONVC_INVALID_VALUE, "size must be at least 1, got %lld", (long long)params->size);
    return CONVC_OK;
}

convc_status convc_lrn_forward(const convc_tensor *x, const convc_lrn_params *params, const convc_tensor *y) {
    TRY(check(x, params));
    TRY(convc_check_like(y, "out", x, "x"));
    TRY(convc_check_output(y, "out", 2, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(y, "out", x, "x"));
    return convc_size(x) ? run(params, x, y, NULL) : CONVC_OK;
}

convc_status convc_lrn_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_lrn_params *params,
                                const convc_tensor *grad_x) {
    TRY(check(x, params));
    TRY(convc_check_like(grad_y, "grad", x, "x"));
    TRY(convc_check_like(grad_x, "grad_x", x, "x"));
    TRY(convc_check_output(grad_x, "grad_x", 2, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(grad_x, "grad_x", grad_y, "grad"));
    TRY(convc_check_disjoint(grad_x, "grad_x", x, "x"));
    return convc_size(x) ? run(params, x, grad_x, grad_y) : CONVC_OK;
}
