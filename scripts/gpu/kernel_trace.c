// Records every kernel that a process runs on a GPU, with CUPTI's activities, and writes at its end one line a kernel's
// name, `name <tab> launches <tab> nanoseconds`, behind a line of the whole: `<tab> nanoseconds in which some kernel ran
// <tab> nanoseconds from the first kernel's start to the last one's end`.
//
// CUDA_INJECTION64_PATH=libkernel_trace.so loads it into any CUDA program; KERNEL_TRACE names the file.

#include <cupti.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef CUpti_ActivityKernel10 Kernel;

enum { BUFFER_BYTES = 8 << 20, MOST_NAMES = 4096 };

struct Name {
  char *text;
  uint64_t launches, nanoseconds;
};
struct Span {
  uint64_t start, end;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct Name names[MOST_NAMES];
static size_t name_count;
static struct Span *spans;
static size_t span_count, span_room;

static void count(const char *text, uint64_t nanoseconds) {
  size_t nth = 0;
  while (nth < name_count && strcmp(names[nth].text, text)) nth++;
  if (nth == MOST_NAMES) return;
  if (nth == name_count) names[name_count++] = (struct Name){strdup(text), 0, 0};
  names[nth].launches++;
  names[nth].nanoseconds += nanoseconds;
}

static void keep(const Kernel *kernel) {
  if (span_count == span_room) {
    span_room = span_room ? 2 * span_room : 1 << 16;
    spans = realloc(spans, span_room * sizeof *spans);
    if (!spans) abort();
  }
  spans[span_count++] = (struct Span){kernel->start, kernel->end};
  count(kernel->name ? kernel->name : "?", kernel->end - kernel->start);
}

static void CUPTIAPI requested(uint8_t **buffer, size_t *size, size_t *most) {
  *size = BUFFER_BYTES;
  *most = 0;
  *buffer = aligned_alloc(8, BUFFER_BYTES);
}

static void CUPTIAPI completed(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid) {
  (void)context, (void)stream, (void)size;
  CUpti_Activity *record = NULL;
  pthread_mutex_lock(&lock);
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) keep((const Kernel *)record);
  }
  pthread_mutex_unlock(&lock);
  free(buffer);
}

static int earlier(const void *a, const void *b) {
  uint64_t left = ((const struct Span *)a)->start, right = ((const struct Span *)b)->start;
  return (left > right) - (left < right);
}

// Nanoseconds in which at least one kernel ran.
static uint64_t busy(void) {
  uint64_t sum = 0, end = 0;
  for (size_t nth = 0; nth < span_count; nth++) {
    uint64_t from = spans[nth].start > end ? spans[nth].start : end;
    if (spans[nth].end > from) sum += spans[nth].end - from, end = spans[nth].end;
  }
  return sum;
}

static void written(void) {
  const char *path = getenv("KERNEL_TRACE");
  cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  pthread_mutex_lock(&lock);
  FILE *file = fopen(path ? path : "kernel_trace.tsv", "w");
  if (file && span_count) {
    qsort(spans, span_count, sizeof *spans, earlier);
    uint64_t last = 0;
    for (size_t nth = 0; nth < span_count; nth++) last = spans[nth].end > last ? spans[nth].end : last;
    fprintf(file, "\t%llu\t%llu\n", (unsigned long long)busy(), (unsigned long long)(last - spans[0].start));
    for (size_t nth = 0; nth < name_count; nth++) {
      unsigned long long launches = names[nth].launches, nanoseconds = names[nth].nanoseconds;
      fprintf(file, "%s\t%llu\t%llu\n", names[nth].text, launches, nanoseconds);
    }
  }
  if (file) fclose(file);
  pthread_mutex_unlock(&lock);
}

// The driver calls this when it is started.
int InitializeInjection(void) {
  cuptiActivityRegisterCallbacks(requested, completed);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
  atexit(written);
  return 1;
}
