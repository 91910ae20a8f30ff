
/*
 * Errors that no worker tells: those of the module, and nginx's own.
 */


#ifndef _NGX_SI_PROBLEM_H_INCLUDED_
#define _NGX_SI_PROBLEM_H_INCLUDED_


/* si_errors WORD; in whose words they are told */
char *ngx_si_problem_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
/* si_problem; tells the error that error_page has sent here */
ngx_int_t ngx_si_problem_handler(ngx_http_request_t *r);
/* header and body; the request is not finalized.  No text is escaped */
ngx_int_t ngx_si_problem_send(ngx_http_request_t *r, ngx_uint_t status,
    const char *title, const char *code, const char *detail);


#endif /* _NGX_SI_PROBLEM_H_INCLUDED_ */
