/* Winograd's convolutions F(4x4, 3x3) and F(2x2, 3x3): what winograd.c prepares and kernels/winograd_tmpl.c works through. */
#ifndef CONVC_WINOGRAD_H
#define CONVC_WINOGRAD_H

#include "conv.h"

/* Of the larger tiles, along h and w: outputs, inputs; as many points are evaluated. */
#define WINOGRAD_OUT 4
#define WINOGRAD_IN (WINOGRAD_OUT + 2)
#define WINOGRAD_POINTS (WINOGRAD_IN * WINOGRAD_IN)
#define WINOGRAD_PAD 64 /* bytes between the points of any array: else all would meet in a few sets of the caches */
#define WINOGRAD_BLOCK 56 /* larger tiles of a task, at most */

/* For each of 36 or 16 points, M (tiles, k) = V (tiles, depth) @ U (depth, k): transformed images, transformed filters. A round transforms
 * as many tiles as fit in the caches, then multiplies them and transforms the products back. */
typedef struct winograd_job {
    const conv *c;
    const conv *forward; /* if c is all phases of its data gradient, blocks of outputs in which not every filter has all taps */
    int side, points; /* outputs of a tile along h and w, 4 or 2; (side + 2)^2 */
    int64_t phases[2]; /* along h and w: outputs a dilation apart share inputs, and form an image of their own */
    int64_t tile_rows, tile_cols; /* of a phase of an image */
    int64_t vectors; /* of channels in a group, the last one perhaps not full */
    int64_t depth; /* planes of the kernel x channels, rounded up to whole vectors in all planes but the last */
    int64_t panels; /* of output channels in a group, for every output of a block: (channels, row, column) */
    int64_t together; /* panels whose outputs lie side by side in a row; no task or chunk parts them */
    int64_t row_points, row_step; /* points of V that share its rows, which the depth would leave mostly empty; how far apart */
    int64_t group, first_panel, chunk; /* the panels of the group that are computed now */
    int64_t first, count; /* the tiles of this round */
    int64_t parts, blocks, shares; /* tasks: parts x depth vectors to transform, blocks x shares of the chunk to multiply */
    void *v; /* (some points, block of depth, tile, row of winograd_lda) */
    void *u; /* of the chunk: (panel, point, depth, nr) */
    /* All filters, not transformed, or NULL: (group, panel, vector of its nr, plane of the kernel, channel in whole vectors, tap, lane) */
    const void *loaded;
    /* For the gradient of the weights, Z (point, panel, tile, nr) are transformed gradients and M (point, depth, chunk * nr) =
     * V' @ Z the sums over all tiles. */
    void *z, *m;
} winograd_job;

/* Elements of one panel of filters that are loaded, but not transformed; or -1. */
static inline int64_t winograd_loaded(const winograd_job *j, int64_t nr, int64_t lanes) {
    return convc_times(convc_times(9 * nr * lanes, j->vectors), j->c->w.size[0]);
}

#endif
