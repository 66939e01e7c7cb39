// Stands in for the TLS keys of an HTTP client that workers cannot reach.
(function () {
return {
  loadTlsKeyPair() {
    throw new TypeError("not supported");
  },
};
})();
