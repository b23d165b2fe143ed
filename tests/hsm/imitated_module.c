/* A PKCS#11 module that has SoftHSM do the work, and refuses and reports as a vendor's module does by its published
 * description. It proves that our templates keep to what was read there, and nothing about the module itself.
 *
 * IMITATED_AS: yubihsm2 | cloudhsm | smartcard-hsm. IMITATED_BY: path of SoftHSM's module.
 * Sources: Yubico/yubihsm-shell, pkcs11/util_pkcs11.c (templates, attributes); AWS CloudHSM User Guide, known issues and
 * mechanisms; NLnetLabs/cascade issue 244 (what OpenSC shows of a SmartCard-HSM).
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long ulong;
typedef struct { ulong type; void *value; ulong length; } attribute;
typedef struct { ulong mechanism; void *parameter; ulong length; } mechanism;
typedef struct { void *version; void *call[68]; } functions; /* CK_VERSION is padded to the size of a pointer */

enum { GET_INFO = 2, GET_TOKEN_INFO = 6, GET_MECHANISM_LIST = 7, INIT_TOKEN = 9, OPEN_SESSION = 12,
       GET_ATTRIBUTE_VALUE = 24, GENERATE_KEY_PAIR = 59 };
enum { OK = 0, ATTRIBUTE_TYPE_INVALID = 0x12, ATTRIBUTE_VALUE_INVALID = 0x13, FUNCTION_NOT_SUPPORTED = 0x54,
       CURVE_NOT_SUPPORTED = 0x140, SESSION_READ_ONLY = 0xb5, GENERAL_ERROR = 5 };
enum { TOKEN = 1, PRIVATE = 2, LABEL = 3, CLASS = 0, KEY_TYPE = 0x100, SUBJECT = 0x101, ID = 0x102, SENSITIVE = 0x103,
       ENCRYPT = 0x104, DECRYPT = 0x105, WRAP = 0x106, UNWRAP = 0x107, SIGN = 0x108, SIGN_RECOVER = 0x109, VERIFY = 0x10a,
       VERIFY_RECOVER = 0x10b, DERIVE = 0x10c, MODULUS_BITS = 0x121, PUBLIC_EXPONENT = 0x122, EXTRACTABLE = 0x162,
       ALWAYS_SENSITIVE = 0x165, MODIFIABLE = 0x170, COPYABLE = 0x171, DESTROYABLE = 0x172, EC_PARAMS = 0x180,
       ALWAYS_AUTHENTICATE = 0x202 };
enum { RSA_PKCS_KEY_PAIR_GEN = 0, EC_EDWARDS_KEY_PAIR_GEN = 0x1055, EDDSA = 0x1057, RW_SESSION = 2 };

static functions real, ours;
static const char *as = "";

static int in(ulong type, const ulong *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (list[i] == type) return 1;
    return 0;
}
#define IN(type, ...) in(type, (const ulong[]){__VA_ARGS__}, sizeof((const ulong[]){__VA_ARGS__}) / sizeof(ulong))

static void padded(char *field, const char *text, size_t size) {
    memset(field, ' ', size);
    memcpy(field, text, strlen(text));
}

static ulong get_info(char *info) { /* version 2, manufacturer 32, flags 8 (aligned), description 32 */
    ulong result = ((ulong (*)(char *))real.call[GET_INFO])(info);
    if (result == OK && !strcmp(as, "yubihsm2")) {
        padded(info + 2, "Yubico (www.yubico.com)", 32);
        padded(info + 48, "YubiHSM PKCS#11 Library", 32);
    }
    if (result == OK && !strcmp(as, "smartcard-hsm")) padded(info + 2, "OpenSC Project", 32);
    if (result == OK && !strcmp(as, "cloudhsm")) padded(info + 2, "somebody", 32);
    return result;
}

static ulong get_token_info(ulong slot, char *info) { /* label 32, manufacturer 32, model 16 */
    ulong result = ((ulong (*)(ulong, char *))real.call[GET_TOKEN_INFO])(slot, info);
    if (result != OK) return result;
    int blank = info[0] == ' ';
    if (!strcmp(as, "yubihsm2")) {
        padded(info, blank ? "" : "YubiHSM", 32);
        padded(info + 32, "Yubico (www.yubico.com)", 32);
        padded(info + 64, "YubiHSM", 16);
    } else if (!strcmp(as, "smartcard-hsm")) {
        padded(info, blank ? "" : "line-3 (UserPIN)", 32);
        padded(info + 32, "www.CardContact.de", 32);
        padded(info + 64, "PKCS#15 emulated", 16);
    } else {
        padded(info, blank ? "" : "hsm1", 32);
        padded(info + 32, "somebody", 32);
        padded(info + 64, "", 16);
    }
    return OK;
}

static ulong get_mechanism_list(ulong slot, ulong *list, ulong *count) {
    ulong result = ((ulong (*)(ulong, ulong *, ulong *))real.call[GET_MECHANISM_LIST])(slot, list, count);
    if (result != OK || list == NULL || !strcmp(as, "yubihsm2")) return result;
    ulong kept = 0;
    for (ulong i = 0; i < *count; i++)
        if (!IN(list[i], EC_EDWARDS_KEY_PAIR_GEN, EDDSA)) list[kept++] = list[i];
    *count = kept;
    return OK;
}

static ulong init_token(ulong slot, void *pin, ulong length, void *label) {
    (void)slot, (void)pin, (void)length, (void)label;
    return FUNCTION_NOT_SUPPORTED;
}

static ulong open_session(ulong slot, ulong flags, void *application, void *notify, ulong *session) {
    if (!strcmp(as, "cloudhsm") && !(flags & RW_SESSION)) return SESSION_READ_ONLY;
    return ((ulong (*)(ulong, ulong, void *, void *, ulong *))real.call[OPEN_SESSION])(
        slot, flags, application, notify, session);
}

static ulong get_attribute_value(ulong session, ulong object, attribute *template, ulong count) {
    ulong result = ((ulong (*)(ulong, ulong, attribute *, ulong))real.call[GET_ATTRIBUTE_VALUE])(
        session, object, template, count);
    for (ulong i = 0; i < count && !strcmp(as, "yubihsm2"); i++)
        if (template[i].type == ALWAYS_SENSITIVE && template[i].value && template[i].length == 1)
            *(char *)template[i].value = 1; /* of every private key, imported ones too */
    return result;
}

static ulong yubihsm2_public(const attribute *each, int rsa) {
    if (rsa && IN(each->type, ENCRYPT, WRAP, UNWRAP)) return OK;
    char set = each->length == 1 ? *(char *)each->value : 0;
    if (IN(each->type, CLASS, KEY_TYPE, ID, EC_PARAMS, LABEL, TOKEN, VERIFY, DERIVE, MODULUS_BITS, PUBLIC_EXPONENT)) return OK;
    if (IN(each->type, EXTRACTABLE, DESTROYABLE)) return set ? OK : ATTRIBUTE_VALUE_INVALID;
    if (IN(each->type, PRIVATE, SENSITIVE, MODIFIABLE, COPYABLE, ENCRYPT, DECRYPT, WRAP, UNWRAP, SIGN, SIGN_RECOVER,
           VERIFY_RECOVER, ALWAYS_AUTHENTICATE))
        return set ? ATTRIBUTE_VALUE_INVALID : OK;
    return ATTRIBUTE_TYPE_INVALID;
}

static ulong yubihsm2_private(const attribute *each, int rsa) {
    if (rsa && IN(each->type, DECRYPT, UNWRAP)) return OK;
    char set = each->length == 1 ? *(char *)each->value : 0;
    if (IN(each->type, CLASS, KEY_TYPE, ID, LABEL, SUBJECT, SIGN, EXTRACTABLE, DERIVE)) return OK;
    if (IN(each->type, TOKEN, SENSITIVE, PRIVATE, DESTROYABLE)) return set ? OK : ATTRIBUTE_VALUE_INVALID;
    if (IN(each->type, VERIFY, WRAP, UNWRAP, ENCRYPT, DECRYPT, SIGN_RECOVER, VERIFY_RECOVER, MODIFIABLE, COPYABLE))
        return set ? ATTRIBUTE_VALUE_INVALID : OK;
    return ATTRIBUTE_TYPE_INVALID;
}

static ulong generate_key_pair(ulong session, mechanism *how, attribute *pub, ulong pubs, attribute *priv, ulong privs,
                               ulong *public_key, ulong *private_key) {
    static char by_oid[] = "\x06\x03\x2b\x65\x70"; /* the one spelling that SoftHSM takes */
    int rsa = how->mechanism == RSA_PKCS_KEY_PAIR_GEN;
    attribute asked[32]; /* the caller's template is the caller's */
    ulong result = OK;
    if (pubs > 32) return GENERAL_ERROR;
    memcpy(asked, pub, pubs * sizeof(attribute));
    pub = asked;
    for (ulong i = 0; i < pubs && !strcmp(as, "yubihsm2") && result == OK; i++) {
        result = yubihsm2_public(pub + i, rsa);
        if (pub[i].type != EC_PARAMS || how->mechanism != EC_EDWARDS_KEY_PAIR_GEN) continue;
        if (pub[i].length != 14 || memcmp(pub[i].value, "\x13\x0c" "edwards25519", 14)) return CURVE_NOT_SUPPORTED;
        pub[i].value = by_oid, pub[i].length = 5;
    }
    for (ulong i = 0; i < privs && !strcmp(as, "yubihsm2") && result == OK; i++)
        result = yubihsm2_private(priv + i, rsa);
    if (result != OK) return result;
    return ((ulong (*)(ulong, mechanism *, attribute *, ulong, attribute *, ulong, ulong *, ulong *))
                real.call[GENERATE_KEY_PAIR])(session, how, pub, pubs, priv, privs, public_key, private_key);
}

ulong C_GetFunctionList(functions **list) {
    const char *by = getenv("IMITATED_BY"), *name = getenv("IMITATED_AS");
    void *library = by ? dlopen(by, RTLD_NOW | RTLD_LOCAL) : NULL;
    ulong (*get)(functions **) = library ? (ulong (*)(functions **))dlsym(library, "C_GetFunctionList") : NULL;
    functions *found;
    if (!get || !name || get(&found) != OK) return GENERAL_ERROR;
    as = name, real = ours = *found;
    ours.call[GET_INFO] = get_info;
    ours.call[GET_TOKEN_INFO] = get_token_info;
    ours.call[GET_MECHANISM_LIST] = get_mechanism_list;
    ours.call[INIT_TOKEN] = init_token;
    ours.call[OPEN_SESSION] = open_session;
    ours.call[GET_ATTRIBUTE_VALUE] = get_attribute_value;
    ours.call[GENERATE_KEY_PAIR] = generate_key_pair;
    *list = &ours;
    return OK;
}
