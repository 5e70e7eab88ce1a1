/*
 * libfqgan: an image becomes a small grid of discrete codes, and back.
 *
 * Made by cbindgen from src/capi; scripts/header.sh renews it.
 *
 * Rules of all functions:
 * - Handles (fqgan_runtime, fqgan_tokenizer, fqgan_generator) are made by _create and _open, which set the
 *   variable to NULL on failure, and freed by _destroy and _close, which accept NULL. A model keeps what it
 *   needs of its runtime alive.
 * - What can fail returns an fqgan_status and takes, last, an fqgan_error that is the caller's and may be NULL.
 *   Outputs are written on success only, unless it says otherwise.
 * - Structs of options and info begin with struct_size: clear the struct and set it to sizeof, or call _init.
 *   No more than that many bytes are read or written, and a field that is zero, or past the end, has its
 *   default: so a host and a library of different age work together.
 * - Buffers are the caller's; their capacity counts elements and is never written past. Outputs must not
 *   overlap inputs.
 * - All functions may be called from any thread. Calls on one model at the same time are safe, and give what
 *   they would give one after another. Only _destroy and _close need that no call on the handle is under way.
 * - Nothing ends the process, prints, or throws. A bug is FQGAN_ERROR_INTERNAL, and the model stays usable.
 * - Text and paths are UTF-8.
 */
#ifndef FQGAN_H
#define FQGAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- Version ----

// The version of this interface. A library of version n has everything of versions 1 to n.
#define FQGAN_ABI_VERSION 1

// The version of the interface that the library was built with: compare it with FQGAN_ABI_VERSION, which is
// that of this header.
uint32_t fqgan_abi_version(void);

// The version of the library, as "0.1.0". The string lives as long as the library is loaded.
const char *fqgan_version(void);

// ---- Errors ----

// All went well.
#define FQGAN_OK 0

// An argument cannot be: NULL, a wrong size, an unknown enum value, too small a capacity.
#define FQGAN_ERROR_INVALID_ARGUMENT 1

// The operating system refused to read or write.
#define FQGAN_ERROR_IO 2

// A file is not what it should be.
#define FQGAN_ERROR_FORMAT 3

// Valid, but not something that this build, device or type can do.
#define FQGAN_ERROR_UNSUPPORTED 4

// Memory, or the memory limit that was set, does not suffice.
#define FQGAN_ERROR_OUT_OF_MEMORY 5

// No driver, no such GPU, or a launch failed.
#define FQGAN_ERROR_DEVICE 6

// The progress function asked to stop.
#define FQGAN_ERROR_CANCELLED 7

// A bug of the library. The runtime and its models stay usable.
#define FQGAN_ERROR_INTERNAL 8

// The bytes of fqgan_error's message, the closing NUL included.
#define FQGAN_MESSAGE_SIZE 504

// How a call went: one of the constants below.
typedef int32_t fqgan_status;

// What went wrong. It is the caller's; set struct_size (or call fqgan_error_init once) and pass it to any
// number of calls. Each sets status and message, on success to FQGAN_OK and "".
typedef struct fqgan_error {
  // sizeof(fqgan_error).
  uint32_t struct_size;
  // The status that the call returned.
  fqgan_status status;
  // UTF-8: what was wrong, where, and what was expected.
  char message[504];
} fqgan_error;

// Clears the struct and sets its struct_size.
void fqgan_error_init(fqgan_error *error);

// The name of a status, as "FQGAN_ERROR_IO"; of an unknown one "FQGAN_ERROR_UNKNOWN". Never NULL.
const char *fqgan_status_name(fqgan_status status);

// ---- Log ----

// A call failed; the message is the one of its fqgan_error.
#define FQGAN_LOG_ERROR 1

// Something the host should know: it works, but not as it could.
#define FQGAN_LOG_WARNING 2

// What was opened, and how it will run.
#define FQGAN_LOG_INFO 3

// For those who debug the library.
#define FQGAN_LOG_DEBUG 4

// Takes a line of the log, without a line break. It may come from any thread, several at a time, and must not
// call fqgan_set_log; messages of calls that it makes itself are dropped.
typedef void (*fqgan_log_fn)(void *user, int32_t level, const char *utf8);

// Sets the function that takes the log of the whole process; NULL, the default, is silence. When this returns,
// the function that was set before is not running and is not called again.
void fqgan_set_log(fqgan_log_fn function, void *user);

// ---- Runtime ----

// The best device there is.
#define FQGAN_DEVICE_AUTO 0

// The processor.
#define FQGAN_DEVICE_CPU 1

// A GPU of NVIDIA's.
#define FQGAN_DEVICE_CUDA 2

// A device and the threads that feed it. Any number of models share one, from any thread.
typedef struct fqgan_runtime fqgan_runtime;

// The host's job system: runs job(context, index) for each index of 0 .. jobs - 1, each once, on any threads
// and in any order, and returns when all are done. It may be called from several threads at a time. A job
// never starts others, never blocks on another job and never throws; nor may this function throw.
typedef void (*fqgan_parallel_fn)(void *user, size_t jobs, void (*job)(void *context, size_t index), void *context);

// How to run. A field that is zero is at its default.
typedef struct fqgan_runtime_options {
  // sizeof(fqgan_runtime_options).
  uint32_t struct_size;
  // FQGAN_DEVICE_AUTO, _CPU or _CUDA.
  int32_t device;
  // Which of several GPUs; 0 for the processor.
  uint32_t device_index;
  // Threads to use, the calling one included, up to 1024; 0: one per physical core. With a parallel
  // function, how many jobs it should be given at a time.
  uint32_t threads;
  // The host's job system; NULL: threads of the library's own.
  fqgan_parallel_fn parallel;
  // Passed to parallel.
  void *parallel_user;
  // The host's own CUcontext, of the GPU that device_index names; NULL: the GPU's primary context. It must
  // outlive the runtime and its models.
  void *cuda_context;
  // The host's own CUstream of that context, which all work is put into; NULL: a stream of the library's own. It
  // must outlive the runtime and its models.
  void *cuda_stream;
} fqgan_runtime_options;

// Sets the fields up to parallel_user to their defaults, struct_size included: those that the first version had. Who
// uses a later field sets struct_size to sizeof(fqgan_runtime_options), and all later fields.
void fqgan_runtime_options_init(fqgan_runtime_options *options);

// Makes a runtime. options may be NULL: all defaults. Fails with FQGAN_ERROR_DEVICE when there is no such
// device, or the library was built without it.
fqgan_status fqgan_runtime_create(const fqgan_runtime_options *options,
                                  fqgan_runtime **runtime,
                                  fqgan_error *error);

// Gives a runtime back; NULL is accepted. Models that were opened with it go on working.
void fqgan_runtime_destroy(fqgan_runtime *runtime);

// ---- Models ----

// 32-bit floats: exact, the default.
#define FQGAN_PRECISION_F32 0

// 16-bit brain floats for the products, sums in 32 bits.
#define FQGAN_PRECISION_BF16 1

// 8-bit weights; for generators.
#define FQGAN_PRECISION_INT8 2

// The file is mapped read-only; models of one file share its memory, also between processes.
#define FQGAN_MAP_ON 0

// The file is read into memory: for files that another process may cut short while they are open.
#define FQGAN_MAP_OFF 1

// How to open a model. A field that is zero is at its default.
typedef struct fqgan_model_options {
  // sizeof(fqgan_model_options).
  uint32_t struct_size;
  // FQGAN_PRECISION_F32, _BF16 or _INT8.
  int32_t precision;
  // FQGAN_MAP_ON or _OFF.
  int32_t map;
  // Bytes of working memory, rearranged weights included; past them, FQGAN_ERROR_OUT_OF_MEMORY. A tight
  // limit makes the model choose smaller, slower forms. 0: no limit.
  uint64_t memory_limit;
} fqgan_model_options;

// Sets all fields to their defaults, struct_size included.
void fqgan_model_options_init(fqgan_model_options *options);

// ---- Images ----

// Bytes red, green, blue.
#define FQGAN_PIXEL_RGB8 0

// Bytes red, green, blue, alpha. Alpha is ignored when read and written as 255.
#define FQGAN_PIXEL_RGBA8 1

// Bytes blue, green, red, alpha. Alpha is ignored when read and written as 255.
#define FQGAN_PIXEL_BGRA8 2

// Floats red, green, blue, in [-1, 1].
#define FQGAN_PIXEL_RGB_F32 3

// A plane of floats for each of red, green and blue, in [-1, 1]; the planes follow each other.
#define FQGAN_PIXEL_RGB_F32_PLANAR 4

// A view of the caller's pixels.
typedef struct fqgan_image {
  // The upper left pixel. Floats need no alignment.
  void *pixels;
  // Pixels of a row.
  uint32_t width;
  // Rows.
  uint32_t height;
  // Bytes from one row to the next; 0: rows are packed. For FQGAN_PIXEL_RGB_F32_PLANAR it is the stride in
  // a plane, of which the next begins height * row_stride after it.
  size_t row_stride;
  // One of FQGAN_PIXEL_.
  int32_t format;
} fqgan_image;

// ---- Tokenizer ----

// A model that turns images into codes and back.
typedef struct fqgan_tokenizer fqgan_tokenizer;

// What a tokenizer is.
typedef struct fqgan_tokenizer_info {
  // sizeof(fqgan_tokenizer_info).
  uint32_t struct_size;
  // Sub-codebooks: as many codes stand for a patch. Their order is (vis, sem) or (vis, sem_mid, sem_high).
  uint32_t codebooks;
  // Codes of a sub-codebook; each code is less.
  uint32_t codebook_size;
  // Elements of a code's vector.
  uint32_t code_dim;
  // Side of a patch in pixels: sides of images are multiples of it.
  uint32_t downsample;
  // Side of the images that the model was made for. Others are an extension of this library's.
  uint32_t image_size;
  // Weights that encoding and decoding use.
  uint64_t parameters;
} fqgan_tokenizer_info;

// Opens a tokenizer's weights: a safetensors file, or a .pt of the authors'. options may be NULL.
fqgan_status fqgan_tokenizer_open(fqgan_runtime *runtime,
                                  const char *path,
                                  const fqgan_model_options *options,
                                  fqgan_tokenizer **tokenizer,
                                  fqgan_error *error);

// fqgan_tokenizer_open for a file that the caller holds in memory. The bytes are used until the tokenizer is
// closed; they must stay and must not change.
fqgan_status fqgan_tokenizer_open_memory(fqgan_runtime *runtime,
                                         const void *bytes,
                                         size_t length,
                                         const fqgan_model_options *options,
                                         fqgan_tokenizer **tokenizer,
                                         fqgan_error *error);

// Closes a tokenizer; NULL is accepted.
void fqgan_tokenizer_close(fqgan_tokenizer *tokenizer);

// Fills info.
fqgan_status fqgan_tokenizer_get_info(const fqgan_tokenizer *tokenizer,
                                      fqgan_tokenizer_info *info,
                                      fqgan_error *error);

// Codes of images, which are all of one size, laid out (count, codebooks, height / downsample,
// width / downsample). capacity counts codes.
fqgan_status fqgan_encode(fqgan_tokenizer *tokenizer,
                          const fqgan_image *images,
                          size_t count,
                          uint32_t *codes,
                          size_t capacity,
                          fqgan_error *error);

// Images of codes laid out (count, codebooks, grid_height, grid_width). Each image is
// grid_width * downsample x grid_height * downsample pixels, and is written to. Bit i of codebook_mask says
// that sub-codebook i is used, the vectors of the others are zero; 0: all are. When memory runs out in a
// batch, the first images may have been written.
fqgan_status fqgan_decode(fqgan_tokenizer *tokenizer,
                          const uint32_t *codes,
                          size_t count,
                          uint32_t grid_width,
                          uint32_t grid_height,
                          uint32_t codebook_mask,
                          const fqgan_image *images,
                          fqgan_error *error);

// Latents of images before they are normalised and become codes, laid out (count, codebooks, code_dim,
// height / downsample, width / downsample). capacity counts floats.
fqgan_status fqgan_latents(fqgan_tokenizer *tokenizer,
                           const fqgan_image *images,
                           size_t count,
                           float *latents,
                           size_t capacity,
                           fqgan_error *error);

// ---- Generator ----

// A model that makes codes of new images, given their classes.
typedef struct fqgan_generator fqgan_generator;

// What a generator is. Its codes fit a tokenizer of the same codebooks and codebook_size, whose downsample
// times the grid is the size of the images.
typedef struct fqgan_generator_info {
  // sizeof(fqgan_generator_info).
  uint32_t struct_size;
  // Sub-codes of a position.
  uint32_t codebooks;
  // Codes of a sub-codebook; each code is less.
  uint32_t codebook_size;
  // Classes, without the null class.
  uint32_t classes;
  // Columns of an image's codes.
  uint32_t grid_width;
  // Rows of an image's codes.
  uint32_t grid_height;
  // Blocks of the backbone.
  uint32_t layers;
  // Its width.
  uint32_t dim;
  // Attention heads of a block.
  uint32_t heads;
  // Blocks of the head that makes a position's sub-codes; 0 in models without.
  uint32_t head_layers;
  // Weights that generation uses.
  uint64_t parameters;
} fqgan_generator_info;

// Says how far a generation is: done of total positions, of all images together. Not 0: stop. It is called
// on the thread that called fqgan_generate, and must not throw.
typedef int32_t (*fqgan_progress_fn)(void *user, uint32_t done, uint32_t total);

// How codes are drawn. A field that is zero is at its default.
typedef struct fqgan_sampling {
  // sizeof(fqgan_sampling).
  uint32_t struct_size;
  // Draw from so many of the likeliest codes; 0: all, 1: always the likeliest.
  uint32_t top_k;
  // What the random choices follow from. An image depends on it, on its place in the call and on its
  // class, not on the threads or on the other images.
  uint64_t seed;
  // How much the class counts; 0: 2.0. 1 is no guidance, and half the work.
  float guidance;
  // Divides the logits, after guidance; 0: 1.0.
  float temperature;
  // Draw from the likeliest codes that together have this probability, of what top_k leaves; 0: 1.0, all.
  float top_p;
  // Positions to make, row by row; 0: the whole grid. The codes of the rest are 0.
  uint32_t steps;
  // NULL: none.
  fqgan_progress_fn progress;
  // Passed to progress.
  void *progress_user;
} fqgan_sampling;

// Opens a generator's weights: a safetensors file, or a .pt of the authors'. options may be NULL.
fqgan_status fqgan_generator_open(fqgan_runtime *runtime,
                                  const char *path,
                                  const fqgan_model_options *options,
                                  fqgan_generator **generator,
                                  fqgan_error *error);

// fqgan_generator_open for a file that the caller holds in memory. The bytes are used until the generator is
// closed; they must stay and must not change.
fqgan_status fqgan_generator_open_memory(fqgan_runtime *runtime,
                                         const void *bytes,
                                         size_t length,
                                         const fqgan_model_options *options,
                                         fqgan_generator **generator,
                                         fqgan_error *error);

// Closes a generator; NULL is accepted.
void fqgan_generator_close(fqgan_generator *generator);

// Fills info.
fqgan_status fqgan_generator_get_info(const fqgan_generator *generator,
                                      fqgan_generator_info *info,
                                      fqgan_error *error);

// Sets all fields to their defaults, struct_size included.
void fqgan_sampling_init(fqgan_sampling *sampling);

// Codes of new images, one for each class, laid out (count, codebooks, grid_height, grid_width); capacity
// counts codes. sampling may be NULL. Whenever its progress function is called, codes holds those made so far,
// and 0 for the rest, to be looked at; when it stops, the result is FQGAN_ERROR_CANCELLED and they stay.
fqgan_status fqgan_generate(fqgan_generator *generator,
                            const uint32_t *classes,
                            size_t count,
                            const fqgan_sampling *sampling,
                            uint32_t *codes,
                            size_t capacity,
                            fqgan_error *error);

// What the model expects at each position of known codes, given the class and all codes before, without
// guidance. codes is laid out as fqgan_generate makes them; logits is laid out (count, codebooks, grid_height *
// grid_width, codebook_size), and capacity counts floats. The class of index info.classes is the null class.
// When memory runs out in a batch, a part of logits may have been written.
fqgan_status fqgan_generator_logits(fqgan_generator *generator,
                                    const uint32_t *classes,
                                    const uint32_t *codes,
                                    size_t count,
                                    float *logits,
                                    size_t capacity,
                                    fqgan_error *error);

// ---- Codes ----

// The sizes of a set of codes, laid out (count, codebooks, grid_height, grid_width).
typedef struct fqgan_codes_info {
  // sizeof(fqgan_codes_info).
  uint32_t struct_size;
  // Images.
  uint32_t count;
  // Sub-codebooks: (vis, sem) or (vis, sem_mid, sem_high).
  uint32_t codebooks;
  // Codes of a sub-codebook; each code is less.
  uint32_t codebook_size;
  // Columns.
  uint32_t grid_width;
  // Rows.
  uint32_t grid_height;
} fqgan_codes_info;

// Writes codes as the bytes of a .fqc file: bit-packed, with their sizes and a checksum. *length is set to
// the bytes that the file has. bytes may be NULL, to learn *length alone; codes is not read then.
fqgan_status fqgan_codes_pack(const uint32_t *codes,
                              size_t count,
                              uint32_t codebooks,
                              uint32_t codebook_size,
                              uint32_t grid_width,
                              uint32_t grid_height,
                              void *bytes,
                              size_t capacity,
                              size_t *length,
                              fqgan_error *error);

// Reads the bytes of a .fqc file: its sizes to info, its codes to codes. Either may be NULL, not both; with
// codes NULL, info says how many there are. Bytes that are damaged, or cut short, are FQGAN_ERROR_FORMAT.
fqgan_status fqgan_codes_unpack(const void *bytes,
                                size_t length,
                                fqgan_codes_info *info,
                                uint32_t *codes,
                                size_t capacity,
                                fqgan_error *error);

#ifdef __cplusplus
} // extern "C"
#endif

#endif // FQGAN_H
