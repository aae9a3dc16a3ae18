/* q, how often a patch recurs around itself: RotoGBML eq. 9-10 as encoders/patches.py has it, one image at a time in
 * cache. Compiled where a C compiler is at hand (native/build.py); patches.py does the same without.
 *
 * This file includes itself, once for each type.
 */
#ifndef REAL

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* exp of x <= 0 in float32, to 2 units in the last place: a loop over it is vectorised, libm's is not. */
static inline float exp_f32(float x)
{
    x = x < -87.0f ? -87.0f : x;
    float k = floorf(x * 1.44269504f + 0.5f);
    float f = (x - k * 0.693145752f) - k * 1.42860677e-6f;
    float p = 1.98412698e-4f;
    p = p * f + 1.38888889e-3f;
    p = p * f + 8.33333333e-3f;
    p = p * f + 4.16666667e-2f;
    p = p * f + 1.66666667e-1f;
    p = p * f + 0.5f;
    p = p * f + 1.0f;
    p = p * f + 1.0f;
    union { int32_t i; float f; } two;
    two.i = ((int32_t)k + 127) << 23;
    return p * two.f;
}

#define exp_f64 exp

#define REAL float
#define EXP exp_f32
#define NAME(f) f##_f32
#include "isi.c"
#undef REAL
#undef EXP
#undef NAME

#define REAL double
#define EXP exp_f64
#define NAME(f) f##_f64
#include "isi.c"

#else

/* Below so many channels the map is taken plane by plane. */
#ifndef FEW
#define FEW 16
#endif

/* e_j over a row of `count` pixels: the squared distance between here and there, over all channels. */
static void NAME(row_distance)(const REAL *restrict here, const REAL *restrict there, ptrdiff_t count, ptrdiff_t c,
                               ptrdiff_t plane, REAL *restrict e)
{
    if (c < FEW) {
        for (ptrdiff_t x = 0; x < count; x++) {
            REAL d = here[x] - there[x];
            e[x] = d * d;
        }
        for (ptrdiff_t k = 1; k < c; k++)
            for (ptrdiff_t x = 0; x < count; x++) {
                REAL d = here[k * plane + x] - there[k * plane + x];
                e[x] += d * d;
            }
    } else {
        for (ptrdiff_t x = 0; x < count; x++) {
            const REAL *p = here + x * c, *q = there + x * c;
            REAL sum = 0;
            for (ptrdiff_t k = 0; k < c; k++) {
                REAL d = p[k] - q[k];
                sum += d * d;
            }
            e[x] = sum;
        }
    }
}

/* Density of images [b, c, h, w] with the given strides (in elements, of an image, a channel, a row, a pixel).
 *
 * q    [b, h, w]; not written where it is NULL
 * mean [b] mean distance of each image; read where `given` is not 0, else written
 * Returns 0, or 1 where there is no memory.
 */
int NAME(isi_density)(const REAL *x, ptrdiff_t b, ptrdiff_t c, ptrdiff_t h, ptrdiff_t w, const ptrdiff_t *stride,
                      ptrdiff_t half, ptrdiff_t radius, double bandwidth, int given, double *mean, REAL *q)
{
    const ptrdiff_t margin = half + radius, H = h + 2 * margin, W = w + 2 * margin, n = H * W;
    const ptrdiff_t shifts = ((2 * radius + 1) * (2 * radius + 1) - 1) / 2;
    const ptrdiff_t row = c < FEW ? W : W * c, pixel = c < FEW ? 1 : c, plane = c < FEW ? n : 1;
    REAL *padded = malloc(sizeof(REAL) * (size_t)(c * n));
    REAL *D = malloc(sizeof(REAL) * (size_t)(shifts * n));
    REAL *e = malloc(sizeof(REAL) * (size_t)(2 * n));
    if (!padded || !D || !e) {
        free(padded), free(D), free(e);
        return 1;
    }
    REAL *across = e + n;
    for (ptrdiff_t image = 0; image < b; image++) {
        const REAL *from = x + image * stride[0];
        for (ptrdiff_t i = 0; i < H; i++) {
            ptrdiff_t si = i < margin ? 0 : i - margin >= h ? h - 1 : i - margin;
            for (ptrdiff_t j = 0; j < W; j++) {
                ptrdiff_t sj = j < margin ? 0 : j - margin >= w ? w - 1 : j - margin;
                const REAL *p = from + si * stride[2] + sj * stride[3];
                REAL *to = padded + i * row + j * pixel;
                if (c >= FEW && stride[1] == 1)
                    memcpy(to, p, sizeof(REAL) * (size_t)c);
                else
                    for (ptrdiff_t k = 0; k < c; k++)
                        to[k * plane] = p[k * stride[1]];
            }
        }
        /* D_j for half of the shifts, on the image and on the image moved by -j. */
        double total = 0;
        ptrdiff_t s = 0;
        for (ptrdiff_t dy = 0; dy <= radius; dy++)
            for (ptrdiff_t dx = -radius; dx <= radius; dx++) {
                if (dy == 0 && dx <= 0)
                    continue;
                const ptrdiff_t back = dx > 0 ? dx : 0, on = dx < 0 ? -dx : 0;
                const ptrdiff_t top = margin - half - dy, bottom = margin + h + half;
                const ptrdiff_t left = margin - half - back, right = margin + w + half + on;
                REAL *Dj = D + s++ * n;
                for (ptrdiff_t i = top; i < bottom; i++) {
                    const REAL *here = padded + i * row + left * pixel;
                    NAME(row_distance)(here, here + dy * row + dx * pixel, right - left, c, plane, e + i * W + left);
                    const REAL *ei = e + i * W;
                    REAL *ai = across + i * W;
                    for (ptrdiff_t j = left + half; j < right - half; j++)
                        ai[j] = ei[j - half];
                    for (ptrdiff_t step = -half + 1; step <= half; step++)
                        for (ptrdiff_t j = left + half; j < right - half; j++)
                            ai[j] += ei[j + step];
                }
                for (ptrdiff_t i = top + half; i < bottom - half; i++) {
                    REAL *di = Dj + i * W;
                    const REAL *ai = across + i * W;
                    for (ptrdiff_t j = left + half; j < right - half; j++)
                        di[j] = ai[j - half * W];
                    for (ptrdiff_t step = -half + 1; step <= half; step++)
                        for (ptrdiff_t j = left + half; j < right - half; j++)
                            di[j] += ai[j + step * W];
                }
                for (ptrdiff_t i = margin; i < margin + h; i++) {
                    const REAL *there = Dj + i * W + margin, *behind = there - dy * W - dx;
                    REAL sum = 0;
                    for (ptrdiff_t j = 0; j < w; j++)
                        sum += there[j] + behind[j];
                    total += sum;
                }
            }
        if (!given)
            mean[image] = total / ((double)(h * w) * (double)(2 * shifts + 1));
        if (!q)
            continue;
        const double least = mean[image] > 1e-37 ? mean[image] : 1e-37;
        const REAL scale = (REAL)(-1.0 / (2.0 * bandwidth * bandwidth * least));
        REAL *out = q + image * h * w;
        for (ptrdiff_t j = 0; j < h * w; j++)
            out[j] = 1; /* the window itself is one of its neighbours */
        s = 0;
        for (ptrdiff_t dy = 0; dy <= radius; dy++)
            for (ptrdiff_t dx = -radius; dx <= radius; dx++) {
                if (dy == 0 && dx <= 0)
                    continue;
                const ptrdiff_t back = dx > 0 ? dx : 0, on = dx < 0 ? -dx : 0;
                REAL *Dj = D + s++ * n;
                for (ptrdiff_t i = margin - dy; i < margin + h; i++) {
                    REAL *di = Dj + i * W;
                    for (ptrdiff_t j = margin - back; j < margin + w + on; j++)
                        di[j] = EXP(scale * di[j]);
                }
                for (ptrdiff_t i = 0; i < h; i++) {
                    const REAL *there = Dj + (i + margin) * W + margin, *behind = there - dy * W - dx;
                    REAL *oi = out + i * w;
                    for (ptrdiff_t j = 0; j < w; j++)
                        oi[j] += there[j] + behind[j];
                }
            }
        const REAL share = (REAL)(1.0 / (double)(2 * shifts + 1));
        for (ptrdiff_t j = 0; j < h * w; j++)
            out[j] *= share;
    }
    free(padded), free(D), free(e);
    return 0;
}

/* 1 where a fate, sixteen random bits, is at or above its position's threshold (0 ... 65536), else 0. */
void NAME(isi_kept)(const uint16_t *restrict fates, const int32_t *restrict threshold, ptrdiff_t positions,
                    ptrdiff_t c, REAL *restrict out)
{
    for (ptrdiff_t i = 0; i < positions; i++) {
        const int32_t from = threshold[i];
        for (ptrdiff_t k = i * c; k < (i + 1) * c; k++)
            out[k] = (int32_t)fates[k] >= from ? (REAL)1 : (REAL)0;
    }
}

#endif
