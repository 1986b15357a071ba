/* Clock, CPU, histograms, bodies, and the epoll loop. */
#include "load.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS (1 << 21)

int loop_fd = -1;

int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t own_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t process_cpu_ns(int pid) {
    char path[512];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) return -1;
    int64_t total = 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        if (task->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, task->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue; /* a thread that has just ended */
        long long on_cpu = 0;
        if (fscanf(file, "%lld", &on_cpu) == 1) total += on_cpu;
        fclose(file);
    }
    closedir(tasks);
    return total;
}

int64_t process_writes(int pid) {
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%d/io", pid);
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    long long writes = -1;
    while (fgets(line, sizeof line, file)) sscanf(line, "syscw: %lld", &writes);
    fclose(file);
    return writes;
}

void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

void pin(int core) {
    if (core < 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity");
}

int dial(int port, int receive_bytes) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (receive_bytes) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    return fd; /* reads and writes pass MSG_DONTWAIT */
}

void put_number(char *at, int width, int64_t value) {
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void hist_open(Hist *h) {
    h->bucket = calloc(BUCKETS, sizeof *h->bucket);
    if (!h->bucket) die("calloc");
    h->count = h->sum = h->largest = 0;
}

void hist_clear(Hist *h) {
    memset(h->bucket, 0, BUCKETS * sizeof *h->bucket);
    h->count = h->sum = h->largest = 0;
}

void hist_add(Hist *h, int64_t us) {
    uint64_t value = us < 0 ? 0 : (uint64_t)us;
    h->bucket[value < BUCKETS ? value : BUCKETS - 1]++;
    h->count++;
    h->sum += value;
    if (value > h->largest) h->largest = value;
}

static uint64_t hist_at(const Hist *h, double share) {
    uint64_t want = (uint64_t)(share * (double)h->count), seen = 0;
    for (uint64_t i = 0; i < BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen > want) return i == BUCKETS - 1 ? h->largest : i;
    }
    return h->largest;
}

void hist_print(const Hist *h) {
    if (!h->count) {
        printf("null");
        return;
    }
    printf("{\"count\":%llu,\"mean\":%.1f,\"p50\":%llu,\"p90\":%llu,\"p99\":%llu,\"p999\":%llu,\"max\":%llu}",
           (unsigned long long)h->count, (double)h->sum / (double)h->count,
           (unsigned long long)hist_at(h, .5), (unsigned long long)hist_at(h, .9),
           (unsigned long long)hist_at(h, .99), (unsigned long long)hist_at(h, .999),
           (unsigned long long)h->largest);
}

static int run_of(const char *text, size_t size, char mark, int width) {
    int seen = 0;
    for (size_t i = 0; i < size; i++) {
        seen = text[i] == mark ? seen + 1 : 0;
        if (seen == width) return (int)i - width + 1;
    }
    return -1;
}

Bodies bodies_read(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    Bodies bodies = {0};
    char *line = NULL;
    size_t room = 0;
    for (ssize_t got; (got = getline(&line, &room, file)) > 0;) {
        while (got > 0 && line[got - 1] == '\n') got--;
        if (!got) continue;
        bodies.at = realloc(bodies.at, (bodies.count + 1) * sizeof *bodies.at);
        Body *body = &bodies.at[bodies.count++];
        body->text = malloc((size_t)got);
        memcpy(body->text, line, (size_t)got);
        body->size = (size_t)got;
        body->stamp = run_of(line, (size_t)got, '#', STAMP_WIDTH);
        body->count = run_of(line, (size_t)got, '@', COUNT_WIDTH);
    }
    free(line);
    fclose(file);
    if (!bodies.count) die("no bodies");
    return bodies;
}

const Body *body_next(Bodies *bodies, size_t *cursor) {
    const Body *body = &bodies->at[*cursor];
    *cursor = *cursor + 1 == bodies->count ? 0 : *cursor + 1;
    return body;
}

void body_mark(const Body *body, char *copy) {
    static int64_t counter;
    if (body->stamp >= 0) put_number(copy + body->stamp, STAMP_WIDTH, STAMP_BASE + now_us());
    if (body->count >= 0) put_number(copy + body->count, COUNT_WIDTH, ++counter);
}

void loop_add(int fd, uint32_t events, Source *source) {
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (epoll_ctl(loop_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

void loop_change(int fd, uint32_t events, Source *source) {
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (epoll_ctl(loop_fd, EPOLL_CTL_MOD, fd, &event)) die("epoll_ctl");
}

void loop_run(int64_t until_us) {
    struct epoll_event events[256];
    int64_t left = until_us - now_us();
    if (left < 0) left = 0;
    struct timespec wait = {left / 1000000, left % 1000000 * 1000};
    int count = epoll_pwait2(loop_fd, events, 256, &wait, NULL);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
        Source *source = events[i].data.ptr;
        source->ready(source, events[i].events);
    }
}
