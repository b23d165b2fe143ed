/* A device's DTLS client by stock mbedTLS 3.6, for tests: a self-signed certificate, and the cloud's key by its pin.
 *
 * usage: mbedtls_client PORT KEY.der CERTIFICATE.der CLOUD-SPKI.der MTU
 * Says "hello" and prints what comes back; otherwise mbedTLS's error. Exit code 0 only with an answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbedtls/ctr_drbg.h"
#include "mbedtls/entropy.h"
#include "mbedtls/net_sockets.h"
#include "mbedtls/ssl.h"
#include "mbedtls/timing.h"

struct pin {
    unsigned char spki[200];
    size_t size;
};

static int compare(void *wanted, mbedtls_x509_crt *shown, int depth, uint32_t *flags)
{
    const struct pin *pin = wanted;

    if (depth == 0 && shown->pk_raw.len == pin->size && memcmp(shown->pk_raw.p, pin->spki, pin->size) == 0)
        *flags = 0;
    else
        *flags |= MBEDTLS_X509_BADCERT_NOT_TRUSTED;
    return 0;
}

static int failed(const char *what, int code)
{
    printf("%s -0x%04x\n", what, (unsigned)-code);
    return 1;
}

int main(int count, char **words)
{
    mbedtls_net_context net;
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    mbedtls_x509_crt own;
    mbedtls_pk_context key;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_timing_delay_context timer;
    struct pin pin;
    unsigned char answer[256];
    FILE *file;
    int code;

    if (count != 6 || (file = fopen(words[4], "rb")) == NULL)
        return 2;
    pin.size = fread(pin.spki, 1, sizeof pin.spki, file);
    fclose(file);
    mbedtls_net_init(&net);
    mbedtls_ssl_init(&ssl);
    mbedtls_ssl_config_init(&config);
    mbedtls_x509_crt_init(&own);
    mbedtls_pk_init(&key);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    if ((code = mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0)) != 0
        || (code = mbedtls_pk_parse_keyfile(&key, words[2], NULL, mbedtls_ctr_drbg_random, &random)) != 0
        || (code = mbedtls_x509_crt_parse_file(&own, words[3])) != 0
        || (code = mbedtls_net_connect(&net, "127.0.0.1", words[1], MBEDTLS_NET_PROTO_UDP)) != 0
        || (code = mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_DATAGRAM,
                                               MBEDTLS_SSL_PRESET_DEFAULT)) != 0)
        return failed("start", code);
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&config, &own, NULL); /* it insists on one; the pin decides */
    mbedtls_ssl_conf_verify(&config, compare, &pin);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
    mbedtls_ssl_conf_handshake_timeout(&config, 1000, 8000);
    mbedtls_ssl_conf_read_timeout(&config, 5000);
    if ((code = mbedtls_ssl_conf_own_cert(&config, &own, &key)) != 0 || (code = mbedtls_ssl_setup(&ssl, &config)) != 0
        || (code = mbedtls_ssl_set_hostname(&ssl, NULL)) != 0)
        return failed("set-up", code);
    mbedtls_ssl_set_mtu(&ssl, (uint16_t)atoi(words[5]));
    mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, mbedtls_net_recv_timeout);
    mbedtls_ssl_set_timer_cb(&ssl, &timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
    do
        code = mbedtls_ssl_handshake(&ssl);
    while (code == MBEDTLS_ERR_SSL_WANT_READ || code == MBEDTLS_ERR_SSL_WANT_WRITE);
    if (code != 0)
        return failed("handshake", code);
    if ((code = mbedtls_ssl_write(&ssl, (const unsigned char *)"hello", 5)) < 0
        || (code = mbedtls_ssl_read(&ssl, answer, sizeof answer)) < 0)
        return failed("message", code);
    printf("%s: %.*s\n", mbedtls_ssl_get_ciphersuite(&ssl), code, answer);
    mbedtls_ssl_close_notify(&ssl);
    return 0;
}
