/* The form of locally connected layers, and how their work is cut. Shared by local.c and kernels/local_tmpl.c. */
#ifndef CONVC_LOCAL_H
#define CONVC_LOCAL_H

#include "conv.h"

/* Elements at most, of what a task keeps in its workspace: patches of images, and outputs or their gradients. Then the taps and
 * rows of weights at a time, where weights must be copied. */
#define LOCAL_PATCHES 65536
#define LOCAL_TILE 32768
#define LOCAL_TAPS 1024
#define LOCAL_ROWS 16
#define LOCAL_IMAGES 256 /* of the batch at once; this many reads of a weight make its way from memory cheap */

/* A convolution whose output positions have weights of their own. The weights of a position are a matrix (k, taps), taps in the order
 * (c, r, s), which meets the patches of all images: (images, taps). */
typedef struct local {
    conv c; /* c.w are the weights of position 0 */
    int64_t next, taps; /* from one position's weights to the next; taps of a position */
    int is_dense; /* are the taps side by side in memory? */
    const convc_tensor *bias;
    int64_t images, chunk; /* of the batch, and of the taps, at a time */
    int64_t across, outs; /* positions of a row, and output channels, at a time */
    int64_t stretches, parts; /* how many of these there are in a row, and of the output channels */
    int64_t bands[2], channel_parts; /* of the gradient of x: see local.c */
} local;

/* Outputs that are gathered in a tile (position, image, output channel): `count` of a row from (oh, ow) on. */
typedef struct stretch {
    int64_t oh, ow, count, k, outs, n, images;
} stretch;

/* The outputs of a task, for all images. */
static inline stretch local_stretch(const local *l, int64_t task) {
    int64_t part = task % l->parts, row = task / l->parts / l->stretches, i = task / l->parts % l->stretches;
    stretch s = {.oh = row, .k = part * l->outs, .outs = min_i64(l->outs, l->c.y.c - part * l->outs)};
    s.ow = split_point(l->c.y.size[2], l->stretches, i);
    s.count = split_point(l->c.y.size[2], l->stretches, i + 1) - s.ow;
    return s;
}

/* How kernels/local_tmpl.c moves taps. */
typedef enum taps_way { BY_ROW, BY_PIXEL, BY_ELEMENT } taps_way;

/* What a task adds to: outputs oh0..oh1, ow0..ow1 and channels c0..c1 of x. */
typedef struct band {
    int64_t oh0, oh1, ow0, ow1, c0, c1;
} band;

#endif
