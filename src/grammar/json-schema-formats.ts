/** Formats of strings that are held, as regular expressions. */

const YEAR = "[0-9]{4}";
/** Every day that each month has in every year. */
const MONTH_DAY =
  "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|" +
  "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))";
const DATE = `${YEAR}-${MONTH_DAY}`;
const TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?";
const ZONE = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
const BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,14}[a-z0-9])?";

export const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: `${TIME}${ZONE}`,
  "date-time": `${DATE}T${TIME}${ZONE}`,
  email: `[A-Za-z0-9_]+(?:[.+-][A-Za-z0-9_]+)*@${LABEL}(?:\\.${LABEL})+`,
  ipv4: `${BYTE}(?:\\.${BYTE}){3}`,
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
};
