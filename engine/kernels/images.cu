// Batches out of a data set of bytes that lies on the device: crops, mirrored, normalised, with a
// hole.
#include "common.cuh"

// What was drawn for one image of the batch: how far below and right of the image's corner the crop
// begins, which may be above and left of it. The hole is an empty range where there is none.
struct Place {
    int image, down, right, mirrored, hole_top, hole_bottom, hole_left, hole_right;
};

// Values of a byte.
constexpr int BYTES = 256;

struct Images {
    Size batch, channels, height, width;
    const unsigned char *pixels;
    const Place *places;
    const float *tables;
    Tensor y;
};

// One plane of an image as it is in the batch.
struct Picture {
    Place place;
    const unsigned char *pixels;
    const float *table;
    int height, width;

    __device__ float at(int row, int column) const {
        if (row >= place.hole_top && row < place.hole_bottom && column >= place.hole_left && column < place.hole_right) {
            return 0.0f;
        }
        int y = row + place.down, x = (place.mirrored ? width - 1 - column : column) + place.right;
        bool inside = y >= 0 && y < height && x >= 0 && x < width;
        // Around the image it is black, which is normalised like every pixel.
        return table[inside ? pixels[y * width + x] : 0];
    }
};

template <int N> __device__ void images_chunk(const Images &problem, int block) {
    const Tensor y = problem.y;
    const int channels = (int)problem.channels, height = (int)problem.height, width = (int)problem.width, plane = height * width;
    const unsigned char *pixels = problem.pixels;
    const Place *places = problem.places;
    const float *tables = problem.tables;
    const Stretch stretch = chunk_of(block, CHUNK, problem.batch * channels * plane, channels, plane);
    for (int round = 0; round < rounds_of<N>(stretch.length); round++) {
        const Packs<N> packs = packs_of<N>(stretch, round);
        Pack<N> values[PACKS];
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
            const Place place = places[packs.n[k]];
            const Size image = ((Size)place.image * channels + packs.c[k]) * plane;
            const Picture picture = {place, pixels + image, tables + packs.c[k] * BYTES, height, width};
            int row = packs.p[k] / width, column = packs.p[k] - row * width;
#pragma unroll
            for (int j = 0; j < N; j++) {
                values[k].at[j] = picture.at(row, column + j);
            }
        }
        store_packs(y, packs.at, packs.count, values);
    }
}

MEMORY_KERNEL images(const Images *problems, const unsigned *first, unsigned count) {
    auto [problem, block] = find_work(problems, first, count);
    // A pack lies in one row.
    if (problem.width % 4 == 0 && packable(problem.y)) {
        images_chunk<4>(problem, block);
    } else {
        images_chunk<1>(problem, block);
    }
}
