export const parent = () => "parent";
