
/*
 * Logs of workers, as they are mirrored and read here.
 */


#ifndef _NGX_SI_LOG_H_INCLUDED_
#define _NGX_SI_LOG_H_INCLUDED_


/* ngx_si_log.c, ngx_si_feed.c */
const char *ngx_si_log_attach(ngx_si_ctx_t *ctx, const u_char *p, size_t len);
/* an ATTACH whose reader has gone: its CANCEL was under way */
const char *ngx_si_log_stray(ngx_si_link_t *link, const u_char *p, size_t len);
const char *ngx_si_log_feed(ngx_si_mirror_t *m, const u_char *p, size_t len);
void ngx_si_log_end(ngx_si_mirror_t *m, ngx_uint_t aborted);
void ngx_si_log_publish(ngx_si_mirror_t *m);
void ngx_si_log_bind(ngx_si_mirror_t *m, ngx_si_link_t *link, uint64_t log,
    uint32_t seq);
void ngx_si_log_unbind(ngx_si_mirror_t *m, ngx_uint_t detach);
void ngx_si_log_leave(ngx_si_ctx_t *ctx);
void ngx_si_log_trim(ngx_si_mirror_t *m);
void ngx_si_log_hold(ngx_si_mirror_t *m);
void ngx_si_log_release(ngx_si_mirror_t *m);
void ngx_si_log_close(ngx_si_mirror_t *m, ngx_si_counter_e why,
    ngx_msec_t retry);

/* ngx_si_census.c */
void ngx_si_census_mark(ngx_si_mirror_t *m);
void ngx_si_census_drop(ngx_si_mirror_t *m);
void ngx_si_census_tick(ngx_si_proc_t *proc);

/* ngx_si_cursor.c */
void ngx_si_cursor_fresh(ngx_si_ctx_t *ctx, ngx_si_block_t *fresh);
void ngx_si_cursor_run(ngx_si_ctx_t *ctx);
void ngx_si_cursor_beat(ngx_si_ctx_t *ctx);
ngx_uint_t ngx_si_cursor_can_direct(ngx_http_request_t *r);

/* ngx_si_seat.c */
void ngx_si_seat_take(ngx_si_ctx_t *ctx);
void ngx_si_seat_sync(ngx_si_ctx_t *ctx);
void ngx_si_seat_leave(ngx_si_ctx_t *ctx);
void ngx_si_seat_leave_all(ngx_si_mirror_t *m);
void ngx_si_seat_free(ngx_si_mirror_t *m);
void ngx_si_seat_fan_out(ngx_si_mirror_t *m, ngx_si_block_t *fresh);
ngx_uint_t ngx_si_cursor_clear(ngx_si_ctx_t *ctx);
/* ends a reader that lags; do not touch ctx afterwards */
void ngx_si_cursor_shed(ngx_si_ctx_t *ctx);
void ngx_si_cursor_lag(ngx_si_ctx_t *ctx, ngx_si_block_t *b,
    uint32_t offset);

/* ngx_si_resume.c */
void ngx_si_resume_start(ngx_si_mirror_t *m, ngx_int_t avoid);
void ngx_si_resume_stop(ngx_si_mirror_t *m);
void ngx_si_resume_tick(ngx_si_proc_t *proc);


#endif /* _NGX_SI_LOG_H_INCLUDED_ */
