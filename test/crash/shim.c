/*
 * Preloaded beneath a process under test, this records what it does to one file: every write with its bytes, every
 * truncation, and where each sync begins and ends, in the order in which they happen. Writes to a second file, the
 * process's own journal of acknowledgements, go into the same record, so that it tells what was stable when something was
 * acknowledged.
 *
 *   KNARR_SHIM_STORE    the path of the file that is watched
 *   KNARR_SHIM_JOURNAL  the path of the journal
 *   KNARR_SHIM_LOG      where the record goes
 *   KNARR_SHIM_FAIL     the number of the sync of the watched file that fails with EIO, from 1
 *
 * A record is: one byte kind, three bytes zero, u32 length, u64 offset, then `length` bytes.
 *   W write, D write through a descriptor that syncs data, T truncate (offset: new size), B sync begins, E sync ended,
 *   F sync failed, M msync, J journal line
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, STORE, STORE_DSYNC, JOURNAL };
#define MAX_FD 4096

static unsigned char kinds[MAX_FD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *store_path, *journal_path;
static int log_fd = -1;
static long fail_at, syncs;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off64_t);
static int (*real_ftruncate)(int, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_msync)(void *, size_t, int);

__attribute__((constructor)) static void start(void) {
  real_open = dlsym(RTLD_NEXT, "open64");
  real_openat = dlsym(RTLD_NEXT, "openat64");
  real_close = dlsym(RTLD_NEXT, "close");
  real_write = dlsym(RTLD_NEXT, "write");
  real_writev = dlsym(RTLD_NEXT, "writev");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_pwritev = dlsym(RTLD_NEXT, "pwritev64");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_msync = dlsym(RTLD_NEXT, "msync");
  store_path = getenv("KNARR_SHIM_STORE");
  journal_path = getenv("KNARR_SHIM_JOURNAL");
  const char *fail = getenv("KNARR_SHIM_FAIL");
  if (fail) fail_at = atol(fail);
  const char *log = getenv("KNARR_SHIM_LOG");
  if (log && store_path) log_fd = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(const void *bytes, size_t n) {
  const char *p = bytes;
  while (n > 0) {
    ssize_t w = real_write(log_fd, p, n);
    if (w <= 0) abort();
    p += w;
    n -= (size_t)w;
  }
}

static void head(char kind, uint32_t length, uint64_t offset) {
  unsigned char h[16] = {0};
  h[0] = (unsigned char)kind;
  memcpy(h + 4, &length, 4);
  memcpy(h + 8, &offset, 8);
  put(h, sizeof h);
}

static int kind_of(int fd) { return fd >= 0 && fd < MAX_FD && log_fd >= 0 ? kinds[fd] : NONE; }

static void opened(int fd, const char *path, int flags) {
  if (fd < 0 || fd >= MAX_FD || log_fd < 0) return;
  kinds[fd] = NONE;
  if (strcmp(path, store_path) == 0) kinds[fd] = flags & O_DSYNC ? STORE_DSYNC : STORE;
  else if (journal_path && strcmp(path, journal_path) == 0) kinds[fd] = JOURNAL;
}

#define MODE(flags)                                        \
  mode_t mode = 0;                                         \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {                 \
    va_list args;                                          \
    va_start(args, flags);                                 \
    mode = va_arg(args, mode_t);                           \
    va_end(args);                                          \
  }

int open64(const char *path, int flags, ...) {
  MODE(flags)
  int fd = real_open(path, flags, mode);
  opened(fd, path, flags);
  return fd;
}

int open(const char *path, int flags, ...) {
  MODE(flags)
  int fd = real_open(path, flags, mode);
  opened(fd, path, flags);
  return fd;
}

int openat64(int dir, const char *path, int flags, ...) {
  MODE(flags)
  int fd = real_openat(dir, path, flags, mode);
  opened(fd, path, flags);
  return fd;
}

int openat(int dir, const char *path, int flags, ...) {
  MODE(flags)
  int fd = real_openat(dir, path, flags, mode);
  opened(fd, path, flags);
  return fd;
}

int close(int fd) {
  if (fd >= 0 && fd < MAX_FD) kinds[fd] = NONE;
  return real_close(fd);
}

static ssize_t record(int fd, int kind, const struct iovec *parts, int n, off64_t offset, ssize_t done) {
  if (done <= 0) return done;
  head(kind == JOURNAL ? 'J' : kind == STORE_DSYNC ? 'D' : 'W', (uint32_t)done, (uint64_t)offset);
  size_t left = (size_t)done;
  for (int i = 0; i < n && left > 0; i++) {
    size_t take = parts[i].iov_len < left ? parts[i].iov_len : left;
    put(parts[i].iov_base, take);
    left -= take;
  }
  (void)fd;
  return done;
}

/* A write through a syncing descriptor counts when it has returned, any other from the moment it is made. */
ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t offset) {
  int kind = kind_of(fd);
  if (kind == NONE) return real_pwritev(fd, parts, n, offset);
  pthread_mutex_lock(&lock);
  ssize_t done = record(fd, kind, parts, n, offset, real_pwritev(fd, parts, n, offset));
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset) { return pwritev64(fd, parts, n, offset); }

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  int kind = kind_of(fd);
  if (kind == NONE) return real_pwrite(fd, bytes, length, offset);
  struct iovec part = {(void *)bytes, length};
  pthread_mutex_lock(&lock);
  ssize_t done = record(fd, kind, &part, 1, offset, real_pwrite(fd, bytes, length, offset));
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t writev(int fd, const struct iovec *parts, int n) {
  int kind = kind_of(fd);
  if (kind == NONE) return real_writev(fd, parts, n);
  pthread_mutex_lock(&lock);
  off64_t offset = lseek64(fd, 0, SEEK_CUR);
  ssize_t done = record(fd, kind, parts, n, offset, real_writev(fd, parts, n));
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
  int kind = kind_of(fd);
  if (kind == NONE) return real_write(fd, bytes, length);
  struct iovec part = {(void *)bytes, length};
  pthread_mutex_lock(&lock);
  off64_t offset = lseek64(fd, 0, SEEK_CUR);
  ssize_t done = record(fd, kind, &part, 1, offset, real_write(fd, bytes, length));
  pthread_mutex_unlock(&lock);
  return done;
}

int ftruncate64(int fd, off64_t size) {
  int kind = kind_of(fd);
  if (kind != STORE && kind != STORE_DSYNC) return real_ftruncate(fd, size);
  pthread_mutex_lock(&lock);
  int rc = real_ftruncate(fd, size);
  if (rc == 0) head('T', 0, (uint64_t)size);
  pthread_mutex_unlock(&lock);
  return rc;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synced(int fd, int (*real)(int)) {
  int kind = kind_of(fd);
  if (kind != STORE && kind != STORE_DSYNC) return real(fd);
  pthread_mutex_lock(&lock);
  head('B', 0, 0);
  int failing = ++syncs == fail_at;
  pthread_mutex_unlock(&lock);
  int rc = failing ? -1 : real(fd);
  int error = failing ? EIO : errno;
  pthread_mutex_lock(&lock);
  head(rc == 0 ? 'E' : 'F', 0, 0);
  pthread_mutex_unlock(&lock);
  errno = error;
  return rc;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int msync(void *address, size_t length, int flags) {
  if (log_fd >= 0) {
    pthread_mutex_lock(&lock);
    head('M', 0, 0);
    pthread_mutex_unlock(&lock);
  }
  return real_msync(address, length, flags);
}
