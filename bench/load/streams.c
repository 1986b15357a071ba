/* Streams: WebSocket ingest, one record a frame, so many frames on their way before an ack. */
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_BYTES (64 * 1024)

typedef struct {
    Source source;
    int fd, open, closed;
    uint64_t sent, acked;
    uint8_t *out;
    size_t out_size, out_done;
    uint8_t in[64 * 1024];
    size_t received;
    size_t cursor;
} Stream;

static Streaming about;
static Bodies bodies;
static Stream *all;
static int running, ready;
static uint64_t acked_before;
static size_t largest;
static char trouble[300];

static void pump(Stream *s) {
    for (;;) {
        while (s->out_done < s->out_size) {
            ssize_t put = send(s->fd, s->out + s->out_done, s->out_size - s->out_done, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (put < 0 && errno == EAGAIN) {
                loop_change(s->fd, EPOLLIN | EPOLLOUT, &s->source);
                return;
            }
            if (put < 0) {
                s->closed = 1;
                return;
            }
            s->out_done += (size_t)put;
        }
        s->out_size = s->out_done = 0;
        while (running && s->sent - s->acked < (uint64_t)about.window && s->out_size + largest + 14 < OUT_BYTES) {
            const Body *body = body_next(&bodies, &s->cursor);
            static char copy[OUT_BYTES];
            memcpy(copy, body->text, body->size);
            body_mark(body, copy);
            s->out_size += ws_masked(s->out + s->out_size, 1, copy, body->size);
            s->sent++;
        }
        if (!s->out_size) break;
    }
    loop_change(s->fd, EPOLLIN, &s->source);
}

static void on_ready(Source *source, uint32_t events) {
    Stream *s = (Stream *)source;
    if (s->closed) return;
    if (events & EPOLLIN) {
        ssize_t got = recv(s->fd, s->in + s->received, sizeof s->in - s->received, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            s->closed = 1;
            close(s->fd);
            return;
        }
        if (got > 0) s->received += (size_t)got;
        size_t used = 0;
        if (!s->open) {
            uint8_t *end = memmem(s->in, s->received, "\r\n\r\n", 4);
            if (!end) return;
            if (memcmp(s->in + 9, "101", 3)) die("the server refused a stream");
            used = (size_t)(end + 4 - s->in);
            s->open = 1;
            ready++;
        }
        for (;;) {
            int opcode;
            const uint8_t *payload;
            size_t length, whole = ws_frame(s->in + used, s->received - used, &opcode, &payload, &length);
            if (!whole) break;
            used += whole;
            int none = -1;
            int64_t acked = opcode == 1 ? number_after((const char *)payload, length, "\"acked\":", &none) : -1;
            if (acked >= 0) {
                s->acked = (uint64_t)acked;
            } else if (opcode == 9) {
                uint8_t pong[256];
                size_t size = ws_masked(pong, 10, (const char *)payload, length);
                if (send(s->fd, pong, size, MSG_NOSIGNAL) < 0) s->closed = 1;
            } else if (!trouble[0]) {
                snprintf(trouble, sizeof trouble, "opcode %d: %.*s", opcode, (int)(length < 250 ? length : 250),
                         (const char *)payload + (opcode == 8 ? 2 : 0));
            }
        }
        s->received -= used;
        memmove(s->in, s->in + used, s->received);
    }
    if (s->open) pump(s);
}

void streams_add(const Streaming *streaming) {
    about = *streaming;
    bodies = bodies_read(about.bodies);
    for (size_t i = 0; i < bodies.count; i++)
        if (bodies.at[i].size > largest) largest = bodies.at[i].size;
    if (largest + 14 >= OUT_BYTES) die("a frame is too large");
    all = calloc((size_t)about.connections, sizeof *all);
    for (int i = 0; i < about.connections; i++) {
        Stream *s = &all[i];
        s->source.ready = on_ready;
        s->out = malloc(OUT_BYTES);
        s->fd = dial(about.port, 0);
        char request[1024];
        int size = ws_request(request, sizeof request, about.port, about.path);
        if (send(s->fd, request, (size_t)size, MSG_NOSIGNAL) != size) die("send");
        loop_add(s->fd, EPOLLIN, &s->source);
    }
}

static uint64_t acked_now(void) {
    uint64_t acked = 0;
    for (int i = 0; i < about.connections; i++) acked += all[i].acked;
    return acked;
}

int streams_ready(void) { return ready == about.connections; }

void streams_start(void) {
    running = 1;
    for (int i = 0; i < about.connections; i++) pump(&all[i]);
}

void streams_stop(void) { running = 0; }

int streams_busy(void) {
    int busy = 0;
    for (int i = 0; i < about.connections; i++) busy += !all[i].closed && all[i].sent > all[i].acked;
    return busy;
}

void streams_clear(void) { acked_before = acked_now(); }

void streams_print(void) {
    int closed = 0;
    for (int i = 0; i < about.connections; i++) closed += all[i].closed;
    printf("\"streams\":{\"acked\":%llu,\"closed\":%d,\"trouble\":\"", (unsigned long long)(acked_now() - acked_before),
           closed);
    for (char *c = trouble; *c; c++) {
        if (*c == '"' || *c == '\\') putchar('\\');
        if ((unsigned char)*c >= ' ' && (unsigned char)*c < 127) putchar(*c);
    }
    printf("\"}");
}
