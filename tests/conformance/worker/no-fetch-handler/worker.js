// A worker without a `fetch` handler still loads; asking it over HTTP fails.
export default { rpc: (x) => x };
