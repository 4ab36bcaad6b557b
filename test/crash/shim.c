/*
 * Preloaded beneath a process under test, this records what it does to a few files: every write with its bytes, every
 * truncation, and where each sync begins and ends, in the order in which they happen. Writes to another file, the
 * process's own journal of acknowledgements, go into the same record, so that it tells what was stable when something was
 * acknowledged.
 *
 *   KNARR_SHIM_STORE    the paths of the files that are watched, with colons between
 *   KNARR_SHIM_JOURNAL  the path of the journal
 *   KNARR_SHIM_LOG      where the record goes
 *   KNARR_SHIM_FAIL     FILE:N, the Nth sync of that file, from 1, fails with EIO; a write that syncs is one
 *
 * A record is: one byte kind, one the number of the file, two bytes zero, u32 length, u64 offset, then `length` bytes.
 *   W write, P write through a descriptor that syncs data, begun, D the same ended, T truncate (offset: new size), B sync
 *   begins, E sync ended, F sync failed, M msync, J journal line
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
#define MAX_FILES 8

static unsigned char kinds[MAX_FD], files[MAX_FD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *store_paths[MAX_FILES];
static const char *journal_path;
static int store_count, log_fd = -1;
static long fail_file = -1, fail_at, syncs[MAX_FILES];

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
  const char *stores = getenv("KNARR_SHIM_STORE");
  if (stores)
    for (char *rest = strdup(stores), *path; store_count < MAX_FILES && (path = strsep(&rest, ":"));)
      store_paths[store_count++] = path;
  journal_path = getenv("KNARR_SHIM_JOURNAL");
  const char *fail = getenv("KNARR_SHIM_FAIL");
  if (fail) {
    fail_file = atol(fail);
    fail_at = atol(strchr(fail, ':') + 1);
  }
  const char *log = getenv("KNARR_SHIM_LOG");
  if (log && store_count) log_fd = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
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

static void head(char kind, int file, uint32_t length, uint64_t offset) {
  unsigned char h[16] = {0};
  h[0] = (unsigned char)kind;
  h[1] = (unsigned char)file;
  memcpy(h + 4, &length, 4);
  memcpy(h + 8, &offset, 8);
  put(h, sizeof h);
}

static int kind_of(int fd) { return fd >= 0 && fd < MAX_FD && log_fd >= 0 ? kinds[fd] : NONE; }

static void opened(int fd, const char *path, int flags) {
  if (fd < 0 || fd >= MAX_FD || log_fd < 0) return;
  kinds[fd] = NONE;
  if (journal_path && strcmp(path, journal_path) == 0) kinds[fd] = JOURNAL;
  for (int i = 0; i < store_count; i++)
    if (strcmp(path, store_paths[i]) == 0) {
      kinds[fd] = flags & O_DSYNC ? STORE_DSYNC : STORE;
      files[fd] = (unsigned char)i;
    }
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

static void record(char kind, int file, const struct iovec *parts, int n, off64_t offset, size_t left) {
  head(kind, file, (uint32_t)left, (uint64_t)offset);
  for (int i = 0; i < n && left > 0; i++) {
    size_t take = parts[i].iov_len < left ? parts[i].iov_len : left;
    put(parts[i].iov_base, take);
    left -= take;
  }
}

static int fails(int file) { return ++syncs[file] == fail_at && file == fail_file; }

/* A write through a syncing descriptor counts when it has returned, and may be there in parts before; any other from the moment
 * it is made. */
static ssize_t written(int fd, int kind, const struct iovec *parts, int n, off64_t offset) {
  if (kind != STORE_DSYNC) {
    pthread_mutex_lock(&lock);
    ssize_t done = real_pwritev(fd, parts, n, offset);
    if (done > 0) record(kind == JOURNAL ? 'J' : 'W', files[fd], parts, n, offset, (size_t)done);
    pthread_mutex_unlock(&lock);
    return done;
  }
  size_t whole = 0;
  for (int i = 0; i < n; i++) whole += parts[i].iov_len;
  pthread_mutex_lock(&lock);
  record('P', files[fd], parts, n, offset, whole);
  int failing = fails(files[fd]);
  pthread_mutex_unlock(&lock);
  ssize_t done = failing ? -1 : real_pwritev(fd, parts, n, offset);
  int error = failing ? EIO : errno;
  pthread_mutex_lock(&lock);
  if (done > 0) record('D', files[fd], parts, n, offset, (size_t)done);
  else head('F', files[fd], 0, 0);
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t offset) {
  int kind = kind_of(fd);
  return kind == NONE ? real_pwritev(fd, parts, n, offset) : written(fd, kind, parts, n, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset) { return pwritev64(fd, parts, n, offset); }

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  int kind = kind_of(fd);
  struct iovec part = {(void *)bytes, length};
  return kind == NONE ? real_pwrite(fd, bytes, length, offset) : written(fd, kind, &part, 1, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

/* A descriptor whose own position counts: only the journal is appended to. */
static ssize_t appended(int fd, const struct iovec *parts, int n) {
  pthread_mutex_lock(&lock);
  off64_t offset = lseek64(fd, 0, SEEK_CUR);
  ssize_t done = real_writev(fd, parts, n);
  if (done > 0) record(kinds[fd] == JOURNAL ? 'J' : 'W', files[fd], parts, n, offset, (size_t)done);
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
  return kind_of(fd) == NONE ? real_writev(fd, parts, n) : appended(fd, parts, n);
}

ssize_t write(int fd, const void *bytes, size_t length) {
  struct iovec part = {(void *)bytes, length};
  return kind_of(fd) == NONE ? real_write(fd, bytes, length) : appended(fd, &part, 1);
}

int ftruncate64(int fd, off64_t size) {
  int kind = kind_of(fd);
  if (kind != STORE && kind != STORE_DSYNC) return real_ftruncate(fd, size);
  pthread_mutex_lock(&lock);
  int rc = real_ftruncate(fd, size);
  if (rc == 0) head('T', files[fd], 0, (uint64_t)size);
  pthread_mutex_unlock(&lock);
  return rc;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synced(int fd, int (*real)(int)) {
  int kind = kind_of(fd);
  if (kind != STORE && kind != STORE_DSYNC) return real(fd);
  pthread_mutex_lock(&lock);
  head('B', files[fd], 0, 0);
  int failing = fails(files[fd]);
  pthread_mutex_unlock(&lock);
  int rc = failing ? -1 : real(fd);
  int error = failing ? EIO : errno;
  pthread_mutex_lock(&lock);
  head(rc == 0 ? 'E' : 'F', files[fd], 0, 0);
  pthread_mutex_unlock(&lock);
  errno = error;
  return rc;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int msync(void *address, size_t length, int flags) {
  if (log_fd >= 0) {
    pthread_mutex_lock(&lock);
    head('M', 0, 0, 0);
    pthread_mutex_unlock(&lock);
  }
  return real_msync(address, length, flags);
}
