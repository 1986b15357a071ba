/* The load client: spectators that count, reporters that report, and a floor to compare with.
 *
 * One thread, one epoll. A Python client costs more than the server it measures; this one reads a
 * message in a fraction of a microsecond, so what is measured is the server.
 *
 * Bodies carry two marks that are filled in when they are sent: sixteen '#' become STAMP_BASE plus
 * CLOCK_MONOTONIC in microseconds (a number below 2^53, so JSON keeps it exactly), twelve '@' become
 * a counter. Spectators read the stamp back: publisher and spectator share the machine's clock.
 */
#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAMP_BASE 1000000000000000LL
#define STAMP_WIDTH 16
#define COUNT_WIDTH 12
#define READ_BYTES (256 * 1024)

/* base.c */
int64_t now_us(void);
int64_t process_cpu_ns(int pid); /* all threads of it; -1 when it is gone */
int64_t process_writes(int pid); /* write calls so far; sends of uvloop are among them */
int64_t own_cpu_ns(void);
void die(const char *what);
void pin(int core);
int dial(int port, int receive_bytes); /* a connected, non-blocking TCP socket to 127.0.0.1 */
void put_number(char *at, int width, int64_t value);

typedef struct { /* latencies in whole microseconds, exact up to about two seconds */
    uint32_t *bucket;
    uint64_t count, sum, largest;
} Hist;
void hist_open(Hist *h);
void hist_clear(Hist *h);
void hist_add(Hist *h, int64_t us);
void hist_print(const Hist *h); /* {"count":…,"p50":…,…}, microseconds */

typedef struct { /* one body a reporter sends, and where its marks are */
    char *text;
    size_t size;
    int stamp, count; /* offsets, -1 for none */
} Body;
typedef struct {
    Body *at;
    size_t count;
} Bodies;
Bodies bodies_read(const char *path); /* one a line */
const Body *body_next(Bodies *bodies, size_t *cursor);
void body_mark(const Body *body, char *copy);

/* What epoll hands back: every kind of connection begins with one of these. */
typedef struct Source {
    void (*ready)(struct Source *self, uint32_t events);
} Source;
extern int loop_fd;
void loop_add(int fd, uint32_t events, Source *source);
void loop_change(int fd, uint32_t events, Source *source);
void loop_run(int64_t until_us); /* handles what is ready, at the latest until then */

/* spectators.c */
typedef struct {
    int port, count, window, deaf, socketio;
    int64_t since;
    const char *path, *session, *stamp_key;
} Watching;
void spectators_open(const Watching *watching); /* starts dialling; see spectators_ready */
int spectators_ready(void);                     /* how many have been greeted */
int spectators_refused(void);                   /* how many were closed before that */
void spectators_clear(void);                    /* forget counts and latencies, keep positions */
int spectators_behind(int64_t seq);             /* how many have not reached it */
uint64_t spectators_messages(void);
void spectators_hear(void);                     /* the deaf ones begin to read */
int spectators_deaf_left(void);
void spectators_print(int64_t expected_seq);

/* reporters.c */
typedef struct {
    int port, connections;
    double rate; /* a second; 0: as fast as answers come */
    const char *path, *bodies;
} Reporting;
void reporters_add(const Reporting *reporting);
void reporters_start(void);
void reporters_stop(void);
int reporters_busy(void); /* requests without an answer */
int64_t reporters_last_seq(int group);
void reporters_clear(void);
void reporters_print(void);

/* streams.c */
typedef struct {
    int port, connections, window;
    const char *path, *bodies;
} Streaming;
void streams_add(const Streaming *streaming);
int streams_ready(void);
void streams_start(void);
void streams_stop(void);
int streams_busy(void);
void streams_clear(void);
void streams_print(void);

/* floor.c */
int run_floor(int sockets, int bytes, double seconds, double pace, int write_core, int read_core);

/* websocket.c */
int ws_request(char *into, size_t size, int port, const char *path);
size_t ws_masked(uint8_t *into, int opcode, const char *payload, size_t size);
/* The next whole frame in data[0..size): returns its length with header, 0 if it is not whole yet. */
size_t ws_frame(const uint8_t *data, size_t size, int *opcode, const uint8_t **payload, size_t *length);
int64_t number_after(const char *data, size_t size, const char *key, int *hint);

#endif
