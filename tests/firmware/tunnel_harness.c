/* The device's tunnel without its line, for tests: an operation on standard input, its outcome on standard output.
 *
 * In: u8 operation, u16 size, data. OPEN, STEP and CLOSE as docs/wire.md §4.8 has them; their outcome is u8 state, u8 why,
 * u8 more, u16 size, data. TRY steps, as often as the data calls for, in a child process that ends then, so that the next
 * one finds everything as it was; its outcome is u8: 16 * state + why, or DIED, which is also what sanitisers end with. */
#include "anchor.h"
#include "bytes.h"
#include "factory.h"
#include "image.h"
#include "key_store.h"
#include "port.h"
#include "rng.h"
#include "tcp_client.h"
#include "tunnel.h"
#include "udp_client.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPEN = 0, STEP = 1, CLOSE = 2, TRY = 3, DIED = 255 };

static void get(void *data, size_t size) {
    uint8_t *at = data;
    while (size > 0) {
        ssize_t got = read(STDIN_FILENO, at, size);
        if (got <= 0) {
            exit(0);
        }
        at += got;
        size -= (size_t)got;
    }
}

static void put(const void *data, size_t size) {
    if (write(STDOUT_FILENO, data, size) != (ssize_t)size) {
        exit(1);
    }
}

static void act(uint8_t operation, const uint8_t *in, size_t size, struct tunnel_out *out) {
    struct anchor anchor;
    if (operation == OPEN && anchor_read(&anchor)) {
        tunnel_open(anchor.service == SERVICE_UDP ? &udp_client : &tcp_client, out);
    } else if (operation == CLOSE) {
        tunnel_drop();
    } else {
        tunnel_step(in, size, out);
    }
}

static void put_outcome(const struct tunnel_out *out) {
    uint8_t head[5] = {(uint8_t)tunnel_state(), (uint8_t)tunnel_error(), out->more};
    put_u16(head + 3, (uint16_t)out->size);
    put(head, sizeof head);
    put(out->data, out->size);
}

static void try(const uint8_t *in, size_t size) {
    struct tunnel_out out = {.size = 0};
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        for (size_t at = 0; at < size; at += TUNNEL_IN_MAX) {
            act(STEP, in + at, size - at < TUNNEL_IN_MAX ? size - at : TUNNEL_IN_MAX, &out);
            out.size = 0;
        }
        uint8_t outcome = (uint8_t)(16 * tunnel_state() + tunnel_error());
        act(STEP, NULL, 0, &out); /* and whatever that leaves behind */
        act(CLOSE, NULL, 0, &out);
        _exit(outcome);
    }
    waitpid(child, &status, 0);
    uint8_t outcome = WIFEXITED(status) ? (uint8_t)WEXITSTATUS(status) : DIED;
    put(&outcome, 1);
}

int main(int argc, char **argv) {
    port_start(argc, argv);
    factory_start();
    image_start();
    rng_start();
    key_store_start();
    put("!", 1);
    for (;;) {
        uint8_t head[3];
        struct tunnel_out out = {.size = 0};
        get(head, sizeof head);
        size_t size = get_u16(head + 1);
        uint8_t *in = malloc(size); /* as long as it is: a byte too far is found */
        get(in, size);
        if (head[0] == TRY) {
            try(in, size);
        } else {
            act(head[0], in, size, &out);
            put_outcome(&out);
        }
        free(in);
    }
}
