/* Reporters: keep-alive HTTP connections, one request in flight on each. */
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define MOST_GROUPS 8

struct Group;

typedef struct {
    Source source;
    struct Group *group;
    int fd, waiting;
    int64_t sent_at;
    char *out;
    size_t out_size, out_done;
    char answer[64 * 1024];
    size_t answered;
} Reporter;

typedef struct Group {
    Source source; /* its timer */
    Reporting about;
    Bodies bodies;
    size_t cursor;
    Reporter *reporter;
    int timer, running;
    uint64_t owed; /* requests due that found no free connection */
    uint64_t done, refused, late;
    int64_t last_seq;
    Hist delay;
    char trouble[300];
} Group;

static Group groups[MOST_GROUPS];
static int group_count;

static void push(Reporter *r) {
    while (r->out_done < r->out_size) {
        ssize_t put = send(r->fd, r->out + r->out_done, r->out_size - r->out_done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == EAGAIN) {
            loop_change(r->fd, EPOLLIN | EPOLLOUT, &r->source);
            return;
        }
        if (put < 0) die("send");
        r->out_done += (size_t)put;
    }
    loop_change(r->fd, EPOLLIN, &r->source);
}

static void report(Reporter *r) {
    Group *g = r->group;
    const Body *body = body_next(&g->bodies, &g->cursor);
    size_t room = body->size + 1024;
    r->out = realloc(r->out, room);
    int head = snprintf(r->out, room,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        g->about.path, g->about.port, body->size);
    memcpy(r->out + head, body->text, body->size);
    body_mark(body, r->out + head);
    r->out_size = (size_t)head + body->size;
    r->out_done = 0;
    r->waiting = 1;
    r->answered = 0;
    r->sent_at = now_us();
    ssize_t put = send(r->fd, r->out, r->out_size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0 && errno != EAGAIN) die("send");
    if (put > 0) r->out_done = (size_t)put;
    if (r->out_done < r->out_size) push(r);
}

static void answered(Reporter *r, const char *body, size_t size) {
    Group *g = r->group;
    r->waiting = 0;
    if (memcmp(r->answer + 9, "200", 3)) {
        if (!g->refused++) snprintf(g->trouble, sizeof g->trouble, "%.12s %.*s", r->answer, (int)size, body);
    } else {
        g->done++;
        hist_add(&g->delay, now_us() - r->sent_at);
        int none = -1;
        int64_t seq = number_after(body, size, "\"last_seq\":", &none);
        none = -1;
        if (seq < 0) seq = number_after(body, size, "\"seq\":", &none);
        if (seq > g->last_seq) g->last_seq = seq;
    }
    if (!g->running) return;
    if (g->about.rate <= 0) {
        report(r);
    } else if (g->owed) {
        g->owed--;
        report(r);
    }
}

/* Servers close connections that idle: uvicorn after five seconds, left alone. */
static void redial(Reporter *r) {
    close(r->fd);
    r->fd = dial(r->group->about.port, 0);
    loop_add(r->fd, EPOLLIN, &r->source);
    if (!r->waiting) return;
    r->waiting = 0;
    if (!r->group->refused++) strcpy(r->group->trouble, "the connection was closed instead of an answer");
}

static void on_ready(Source *source, uint32_t events) {
    Reporter *r = (Reporter *)source;
    if (events & EPOLLOUT) push(r);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    ssize_t got = recv(r->fd, r->answer + r->answered, sizeof r->answer - 1 - r->answered, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        redial(r);
        return;
    }
    r->answered += (size_t)got;
    r->answer[r->answered] = 0;
    char *end = memmem(r->answer, r->answered, "\r\n\r\n", 4);
    if (!end) return;
    char *told = strcasestr(r->answer, "content-length:");
    if (!told || told > end) die("an answer without Content-Length");
    size_t size = strtoul(told + 15, NULL, 10), head = (size_t)(end + 4 - r->answer);
    if (r->answered >= head + size) answered(r, end + 4, size);
}

static void on_timer(Source *source, uint32_t events) {
    (void)events;
    Group *g = (Group *)source;
    uint64_t due = 0;
    if (read(g->timer, &due, sizeof due) != sizeof due || !g->running) return;
    for (int i = 0; i < g->about.connections && due; i++) {
        if (g->reporter[i].waiting) continue;
        due--;
        report(&g->reporter[i]);
    }
    g->owed += due;
    g->late += due;
}

void reporters_add(const Reporting *reporting) {
    if (group_count == MOST_GROUPS) die("too many groups");
    Group *g = &groups[group_count++];
    g->about = *reporting;
    g->source.ready = on_timer;
    g->last_seq = -1;
    g->bodies = bodies_read(reporting->bodies);
    g->reporter = calloc((size_t)reporting->connections, sizeof *g->reporter);
    hist_open(&g->delay);
    g->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    loop_add(g->timer, EPOLLIN, &g->source);
    for (int i = 0; i < reporting->connections; i++) {
        Reporter *r = &g->reporter[i];
        r->source.ready = on_ready;
        r->group = g;
        r->fd = dial(reporting->port, 0);
        loop_add(r->fd, EPOLLIN, &r->source);
    }
}

void reporters_start(void) {
    for (Group *g = groups; g < groups + group_count; g++) {
        g->running = 1;
        g->owed = 0;
        if (g->about.rate > 0) {
            int64_t ns = (int64_t)(1e9 / g->about.rate);
            struct timespec period = {ns / 1000000000, ns % 1000000000};
            struct itimerspec spec = {period, period};
            if (timerfd_settime(g->timer, 0, &spec, NULL)) die("timerfd_settime");
        } else {
            for (int i = 0; i < g->about.connections; i++) report(&g->reporter[i]);
        }
    }
}

void reporters_stop(void) {
    struct itimerspec off = {0};
    for (Group *g = groups; g < groups + group_count; g++) {
        g->running = 0;
        timerfd_settime(g->timer, 0, &off, NULL);
    }
}

int reporters_busy(void) {
    int busy = 0;
    for (Group *g = groups; g < groups + group_count; g++)
        for (int i = 0; i < g->about.connections; i++) busy += g->reporter[i].waiting;
    return busy;
}

int64_t reporters_last_seq(int group) { return group < group_count ? groups[group].last_seq : -1; }

void reporters_clear(void) {
    for (Group *g = groups; g < groups + group_count; g++) {
        g->done = g->refused = g->late = 0;
        hist_clear(&g->delay);
    }
}

void reporters_print(void) {
    printf("\"reporters\":[");
    for (int i = 0; i < group_count; i++) {
        Group *g = &groups[i];
        printf("%s{\"done\":%llu,\"refused\":%llu,\"late\":%llu,\"last_seq\":%lld,\"delay\":", i ? "," : "",
               (unsigned long long)g->done, (unsigned long long)g->refused, (unsigned long long)g->late,
               (long long)g->last_seq);
        hist_print(&g->delay);
        printf(",\"trouble\":\"");
        for (char *c = g->trouble; *c; c++) {
            if (*c == '"' || *c == '\\') putchar('\\');
            if ((unsigned char)*c >= ' ') putchar(*c);
        }
        printf("\"}");
    }
    printf("]");
}
