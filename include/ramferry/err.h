/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file err.h
 * Result codes of every ramferry function.
 *
 * Zero is success. RF_AGAIN, RF_NO_RESOURCE and RF_IN_PROGRESS are answers, not failures.
 * Errors are grouped by what the caller must tear down: the request, the lane, the link or
 * the whole migration (the grouping follows UCX's ucs_status_t).
 */
#ifndef RAMFERRY_ERR_H
#define RAMFERRY_ERR_H

#ifdef __cplusplus
extern "C" {
#endif

enum rf_err {
	RF_OK = 0,

	/* answers */
	RF_AGAIN = -1,	     /**< nothing now; call again later */
	RF_NO_RESOURCE = -2, /**< a queue is full; call again after a completion */
	RF_IN_PROGRESS = -3, /**< begun; the outcome comes later */

	/* the request failed, everything else is as it was */
	RF_ERR_INVALID = -10,	  /**< an argument is out of its documented range */
	RF_ERR_NO_MEMORY = -11,	  /**< memory could not be allocated */
	RF_ERR_SYSTEM = -12,	  /**< a system call failed; the log names it and its errno */
	RF_ERR_PERMISSION = -13,  /**< the process lacks a right it needs */
	RF_ERR_UNSUPPORTED = -14, /**< this host, kernel or provider cannot do it */
	RF_ERR_BUSY = -15,	  /**< address in use, or the object is in use */
	RF_ERR_STATE = -16,	  /**< not allowed in the object's present state */
	RF_ERR_NOT_FOUND = -17,	  /**< no such region, chunk, provider or device */
	RF_ERR_MEMLOCK = -18,	  /**< RLIMIT_MEMLOCK is too small for a registration */

	/* the lane is dead; the link may live on */
	RF_ERR_REMOTE_ACCESS = -30, /**< the peer refused the address or the key */
	RF_ERR_LANE_TIMEOUT = -31,  /**< retries exceeded, the peer does not answer */
	RF_ERR_LANE_CLOSED = -32,   /**< the peer closed it, or it was flushed */
	RF_ERR_LANE = -33,	    /**< any other completion error; the log has it in words */

	/* the link is dead */
	RF_ERR_REFUSED = -50,	   /**< nobody listens at that address */
	RF_ERR_UNREACHABLE = -51,  /**< no route, or the name does not resolve */
	RF_ERR_TIMEOUT = -52,	   /**< the peer did not answer in time */
	RF_ERR_PEER_GONE = -53,	   /**< the peer closed or died */
	RF_ERR_PROTOCOL = -54,	   /**< the peer sent what it must not send */
	RF_ERR_NOT_RAMFERRY = -55, /**< the peer speaks something else */
	RF_ERR_VERSION = -56,	   /**< the peer speaks another protocol version */
	RF_ERR_MISMATCH = -57,	   /**< region tables or configurations do not match */
	RF_ERR_PEER_FAILED = -58,  /**< the peer reported an error of its own */

	/* the migration is over */
	RF_ERR_CANCELLED = -70,	      /**< by the user; the source guest runs on */
	RF_ERR_NOT_CONVERGED = -71,   /**< the total time limit ran out; the source guest runs on */
	RF_ERR_VERIFY = -72,	      /**< source and destination memory differ */
	RF_ERR_GUEST = -73,	      /**< a guest callback failed */
	RF_ERR_UNKNOWN_OUTCOME = -74, /**< link lost after the destination was told to run: the
					   guest runs there or nowhere, never here */
	RF_ERR_GUEST_LOST = -75, /**< the source died in postcopy: the guest lacks pages for good */
};

/**
 * Words for a result code.
 * @param err any value; unknown ones give "unknown error".
 * @return a constant string, never NULL. Any thread.
 */
const char *rf_err_str(int err);

#ifdef __cplusplus
}
#endif
#endif
