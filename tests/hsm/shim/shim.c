/* A PKCS#11 module that misbehaves on request: stands between a program and the real module (KS_SHIM_MODULE), forwards
 * every call to it, and for the calls of `enum kind` does what the shared file KS_SHIM_CONTROL says. shim.py writes that
 * file. Types by PKCS #11 v2.40 (sections 3 to 5), as far as they are needed. For tests only.
 *
 * A fault is taken by one call: `times` is taken down with a compare-and-swap, so two processes never share one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef unsigned char byte;
typedef ulong rv_t;
typedef struct { ulong type; void *value; ulong length; } attribute;
typedef struct { ulong type; void *parameter; ulong length; } mechanism;
typedef struct { byte label[32], maker[32], model[16], serial[16]; ulong flags; ulong rest[10]; byte tail[20]; } token_info;
typedef struct { ulong slot, state, flags, error; } session_info;

/* CK_FUNCTION_LIST: a version, then 68 functions in the order of the standard; the numbers are places in that order. */
enum { GET_SLOT_LIST = 4, GET_TOKEN_INFO = 6, OPEN_SESSION = 12, CLOSE_ALL_SESSIONS = 14, GET_SESSION_INFO = 15, LOGIN = 18,
       GET_ATTRIBUTE_VALUE = 24, FIND_OBJECTS_INIT = 26, FIND_OBJECTS = 27, FIND_OBJECTS_FINAL = 28, SIGN_INIT = 42,
       SIGN = 43, FUNCTIONS = 68 };
typedef struct { byte version[2]; void *call[FUNCTIONS]; } function_list;

enum { OK = 0x000, DEVICE_REMOVED = 0x032, TOKEN_NOT_PRESENT = 0x0e0 };
enum { USER = 1, ATTRIBUTE_LABEL = 3, LABEL_BYTES = 32, LABELS = 8 };
enum kind { K_SLOT_LIST, K_TOKEN_INFO, K_OPEN_SESSION, K_LOGIN, K_SIGN_INIT, K_SIGN, K_FIND_INIT, K_FIND, K_FIND_FINAL,
            K_ATTRIBUTE, KINDS };
enum deed { BEFORE = 0, AFTER = 1 };

/* Written by shim.py through ctypes: the same fields in the same order there. */
typedef struct { uint32_t times, skip, rv, when, delay_ms, drops, removes, struck; } fault;
typedef struct { char label[LABEL_BYTES]; uint64_t made; } by_label;
typedef struct {
    uint32_t removed, flags;
    uint64_t entered[KINDS];            /* calls of each kind that a program made */
    uint64_t logins, refused, made;     /* user logins that reached the real module or were answered here; signatures */
    fault faults[KINDS];
    by_label labels[LABELS];
} control;

static control *shared;
static function_list *real, ours;
static char signing_with[LABEL_BYTES];

static uint64_t count(uint64_t *what) { return __atomic_add_fetch(what, 1, __ATOMIC_SEQ_CST); }

static int take(uint32_t *left)
{
    uint32_t now = __atomic_load_n(left, __ATOMIC_SEQ_CST);
    while (now > 0)
        if (__atomic_compare_exchange_n(left, &now, now - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return 1;
    return 0;
}

/* The fault that this call has to suffer, as a copy; without one, `times` is 0. */
static fault due(enum kind kind)
{
    fault none = {0}, found;
    count(&shared->entered[kind]);
    if (__atomic_load_n(&shared->faults[kind].times, __ATOMIC_SEQ_CST) == 0 || take(&shared->faults[kind].skip))
        return none;
    found = shared->faults[kind];
    if (!take(&shared->faults[kind].times))
        return none;
    __atomic_add_fetch(&shared->faults[kind].struck, 1, __ATOMIC_SEQ_CST);
    found.times = 1;
    return found;
}

static void sleep_ms(uint32_t ms)
{
    struct timespec wait = {ms / 1000, (long)(ms % 1000) * 1000000};
    if (ms)
        nanosleep(&wait, NULL);
}

static void drop_sessions(ulong slot) { ((rv_t (*)(ulong))real->call[CLOSE_ALL_SESSIONS])(slot); }

static void drop_sessions_beside(ulong session)
{
    session_info info;
    if (((rv_t (*)(ulong, session_info *))real->call[GET_SESSION_INFO])(session, &info) == OK)
        drop_sessions(info.slot);
}

/* What happens around one call on a session: `CALL` is made unless a fault comes first. A removed token knows no session. */
#define AROUND(kind, session, CALL)                                                                                    \
    fault here = due(kind);                                                                                            \
    rv_t rv;                                                                                                           \
    sleep_ms(here.delay_ms);                                                                                           \
    if (here.times && here.when == BEFORE) {                                                                           \
        if (here.drops || here.removes) drop_sessions_beside(session);                                                 \
        if (here.removes) shared->removed = 1;                                                                         \
        if (here.rv) return here.rv;                                                                                   \
    }                                                                                                                  \
    if (shared->removed) { drop_sessions_beside(session); return DEVICE_REMOVED; }                                      \
    rv = CALL;                                                                                                         \
    if (here.times && here.when == AFTER) {                                                                            \
        if (here.drops || here.removes) drop_sessions_beside(session);                                                 \
        if (here.removes) shared->removed = 1;                                                                         \
        if (here.rv && rv == OK) rv = here.rv;                                                                         \
    }                                                                                                                  \
    return rv;

static rv_t get_slot_list(byte present, ulong *slots, ulong *number)
{
    fault here = due(K_SLOT_LIST);
    rv_t rv;
    sleep_ms(here.delay_ms);
    if (here.rv && here.when == BEFORE)
        return here.rv;
    rv = ((rv_t (*)(byte, ulong *, ulong *))real->call[GET_SLOT_LIST])(present, slots, number);
    return here.rv && rv == OK ? here.rv : rv;
}

static rv_t get_token_info(ulong slot, token_info *info)
{
    fault here = due(K_TOKEN_INFO);
    rv_t rv;
    sleep_ms(here.delay_ms);
    if (here.rv && here.when == BEFORE)
        return here.rv;
    if (shared->removed)
        return TOKEN_NOT_PRESENT;
    rv = ((rv_t (*)(ulong, token_info *))real->call[GET_TOKEN_INFO])(slot, info);
    if (rv == OK)
        info->flags |= shared->flags;
    return here.rv && rv == OK ? here.rv : rv;
}

static rv_t open_session(ulong slot, ulong flags, void *application, void *notify, ulong *session)
{
    fault here = due(K_OPEN_SESSION);
    rv_t rv;
    sleep_ms(here.delay_ms);
    if (here.rv && here.when == BEFORE)
        return here.rv;
    if (shared->removed)
        return TOKEN_NOT_PRESENT;
    rv = ((rv_t (*)(ulong, ulong, void *, void *, ulong *))real->call[OPEN_SESSION])(slot, flags, application, notify, session);
    return here.rv && rv == OK ? here.rv : rv;
}

static rv_t log_in_counted(ulong session, ulong user, byte *pin, ulong length)
{
    AROUND(K_LOGIN, session, ((rv_t (*)(ulong, ulong, byte *, ulong))real->call[LOGIN])(session, user, pin, length))
}

static rv_t log_in(ulong session, ulong user, byte *pin, ulong length)
{
    rv_t rv;
    if (user == USER)
        count(&shared->logins);
    rv = log_in_counted(session, user, pin, length);
    if (rv >= 0x0a0 && rv <= 0x0a4) /* CKR_PIN_INCORRECT to CKR_PIN_LOCKED */
        count(&shared->refused);
    return rv;
}

static rv_t sign_init(ulong session, mechanism *how, ulong key)
{
    attribute label = {ATTRIBUTE_LABEL, signing_with, LABEL_BYTES - 1};
    memset(signing_with, 0, LABEL_BYTES);
    ((rv_t (*)(ulong, ulong, attribute *, ulong))real->call[GET_ATTRIBUTE_VALUE])(session, key, &label, 1);
    AROUND(K_SIGN_INIT, session, ((rv_t (*)(ulong, mechanism *, ulong))real->call[SIGN_INIT])(session, how, key))
}

static rv_t sign_for_real(ulong session, byte *data, ulong length, byte *signature, ulong *size)
{
    rv_t rv = ((rv_t (*)(ulong, byte *, ulong, byte *, ulong *))real->call[SIGN])(session, data, length, signature, size);
    if (rv != OK)
        return rv;
    count(&shared->made);
    for (int number = 0; number < LABELS; number++) {
        by_label *each = &shared->labels[number];
        if (each->label[0] == 0)
            memcpy(each->label, signing_with, LABEL_BYTES);
        if (memcmp(each->label, signing_with, LABEL_BYTES) == 0) {
            count(&each->made);
            break;
        }
    }
    return rv;
}

static rv_t sign(ulong session, byte *data, ulong length, byte *signature, ulong *size)
{
    if (signature == NULL) /* asks for the length only */
        return ((rv_t (*)(ulong, byte *, ulong, byte *, ulong *))real->call[SIGN])(session, data, length, signature, size);
    AROUND(K_SIGN, session, sign_for_real(session, data, length, signature, size))
}

static rv_t find_init(ulong session, attribute *template, ulong number)
{
    AROUND(K_FIND_INIT, session, ((rv_t (*)(ulong, attribute *, ulong))real->call[FIND_OBJECTS_INIT])(session, template, number))
}

static rv_t find(ulong session, ulong *objects, ulong most, ulong *number)
{
    AROUND(K_FIND, session, ((rv_t (*)(ulong, ulong *, ulong, ulong *))real->call[FIND_OBJECTS])(session, objects, most, number))
}

static rv_t find_final(ulong session)
{
    AROUND(K_FIND_FINAL, session, ((rv_t (*)(ulong))real->call[FIND_OBJECTS_FINAL])(session))
}

static rv_t get_attribute(ulong session, ulong object, attribute *template, ulong number)
{
    AROUND(K_ATTRIBUTE, session, ((rv_t (*)(ulong, ulong, attribute *, ulong))real->call[GET_ATTRIBUTE_VALUE])(session, object, template, number))
}

static int attach(void)
{
    const char *module = getenv("KS_SHIM_MODULE"), *file = getenv("KS_SHIM_CONTROL");
    rv_t (*get)(function_list **);
    void *library = module ? dlopen(module, RTLD_NOW | RTLD_LOCAL) : NULL;
    int descriptor = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    if (library == NULL || descriptor < 0)
        return 0;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    return shared != MAP_FAILED && get != NULL && get(&real) == OK;
}

__attribute__((visibility("default"))) rv_t C_GetFunctionList(function_list **list)
{
    if (real == NULL) {
        if (!attach())
            return 0x005; /* CKR_GENERAL_ERROR */
        ours = *real;
        ours.call[GET_SLOT_LIST] = get_slot_list;
        ours.call[GET_TOKEN_INFO] = get_token_info;
        ours.call[OPEN_SESSION] = open_session;
        ours.call[LOGIN] = log_in;
        ours.call[SIGN_INIT] = sign_init;
        ours.call[SIGN] = sign;
        ours.call[FIND_OBJECTS_INIT] = find_init;
        ours.call[FIND_OBJECTS] = find;
        ours.call[FIND_OBJECTS_FINAL] = find_final;
        ours.call[GET_ATTRIBUTE_VALUE] = get_attribute;
    }
    *list = &ours;
    return OK;
}
